"""The accelerator's memories as numpy arrays."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from systolith.golden.rounding import Int64Array, wrap
from systolith.golden.weights import weight_tiles
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Command, ParameterForm, Target
from systolith.spec.program import Program, ProgramError
from systolith.spec.registers import Window, lane_word_bytes, window_stride
from systolith.spec.requant import PARAMETER_FIELDS

__all__ = ["Activations", "Chip", "Results"]


class Activations:
    """The activation address space, uint8; bytes without memory behind them read and stay 0.

    Parameters
    ----------
    spec: number and size of the regions.
    """

    def __init__(self, spec: AcceleratorSpec) -> None:
        self._stride = np.int64(spec.region_stride)
        self._size = spec.memory.activation_bytes
        self._space = np.int64(1) << np.int64(spec.activation_address_bits)
        self._regions = spec.memory.activation_regions
        self.bytes: NDArray[np.uint8] = np.zeros(int(self._space), np.uint8)

    def places(self, addresses: Int64Array, count: int, port: int) -> Int64Array:
        """Return the address of every byte of vectors: one more axis, of length ``count``.

        A port moves ``port`` bytes at a time. Such a piece stays in its region; the next piece
        starts at the next address, in whatever region that is.
        """
        byte = np.arange(count)
        piece = (addresses[..., None] + byte // port * port) & (self._space - 1)
        return (piece & -self._stride) | ((piece + byte % port) & (self._stride - 1))

    def contains(self, address: int, count: int) -> bool:
        """Whether bytes from ``address`` on, 0 or more, lie in one region."""
        inside = address & int(self._stride - 1)
        return bool(address >= 0 and inside + count <= self._stride)

    def read(
        self, addresses: Int64Array, count: int, *, port: int, signed: bool
    ) -> NDArray[np.generic]:
        """Return ``count`` bytes from each address; int8 or uint8, one more axis."""
        codes = self.bytes[self.places(addresses, count, port)]
        return codes.view(np.int8) if signed else codes

    def write(self, addresses: Int64Array, codes: NDArray[np.uint8], *, port: int) -> None:
        """Write vectors, the last axis of ``codes``, from each address on.

        Raises
        ------
        ProgramError: if an address has no memory.
        """
        places = self.places(addresses, codes.shape[-1], port)
        inside = places & (self._stride - 1)
        holes = (inside >= self._size) | (places >= self._regions * self._stride)
        if holes.any():
            raise ProgramError(f"written address must have memory, not {int(places[holes][0]):#x}")
        self.bytes[places] = codes


class Results:
    """The queue of result vectors between the array and the store unit, and sums not yet done."""

    def __init__(self) -> None:
        self._parts: deque[Int64Array] = deque()
        self._held = 0
        self._left: Int64Array | None = None

    def __len__(self) -> int:
        """Return the number of vectors which wait."""
        return self._held

    def append(self, vectors: Int64Array) -> None:
        """Append vectors [count, channels]."""
        self._parts.append(vectors)
        self._held += len(vectors)

    def finish(self, command: Command, vectors: Int64Array) -> None:
        """Combine a MATMUL's vectors [count, channels] with what was left; leave or append them.

        Raises
        ------
        ProgramError: there is nothing to combine with, or of other pixels or channels.
        """
        if command["accumulate"]:
            left = 0 if self._left is None else len(self._left)
            if self._left is None or left != len(vectors):
                raise ProgramError(f"partial sums must be {len(vectors)} vectors, not {left}")
            if self._left.shape[1] != vectors.shape[1]:
                raise ProgramError(
                    f"partial sums must be of {vectors.shape[1]} channels,"
                    f" not {self._left.shape[1]}"
                )
            combine = np.maximum if command["maximum"] else np.add
            vectors = wrap(combine(self._left, vectors), 32)
        self._left = vectors if command["partial"] else None
        if not command["partial"]:
            self.append(vectors)

    def take(self, count: int, channels: int) -> Int64Array:
        """Remove the oldest ``count`` vectors; return their first ``channels`` [count, channels].

        Raises
        ------
        ProgramError: fewer wait, for more of which the hardware would wait for ever, or they have
            fewer channels.
        """
        if count > self._held:
            raise ProgramError(f"STORE must take at most {self._held} result vectors, not {count}")
        taken, missing = [], count
        while missing:
            part = self._parts.popleft()
            if part.shape[1] < channels:
                raise ProgramError(
                    f"tile_channels must be at most {part.shape[1]} after a MATMUL"
                    f" without w4a8, not {channels}"
                )
            if len(part) > missing:
                self._parts.appendleft(part[missing:])
                part = part[:missing]
            taken.append(part[:, :channels])
            missing -= len(part)
        self._held -= count
        return taken[0] if len(taken) == 1 else np.concatenate(taken)


class Chip:
    """The memories that commands read and LOAD writes.

    Parameters
    ----------
    program: their contents before the run; a command may use no word that the program does not
        give, unless the accelerator has an external memory to load it from.
    """

    def __init__(self, program: Program) -> None:
        self.spec = spec = program.spec
        self.activations = Activations(spec)
        lanes, whole = spec.post.lanes, bool(spec.external.data_bytes)
        self.weights = _memory(program.weights, spec.weight_words, (spec.array.columns,), whole)
        self.parameters = _memory(program.parameters, spec.lane_words, (lanes, 8), whole)
        self.tables = _memory(program.tables, spec.memory.tables, (256,), whole)
        self.exponents = _memory(program.exponents, spec.post.softmax_tables, (256,), whole)
        self.commands = _memory(program.commands, spec.memory.command_words, (), whole)

    def weight_tiles(self, command: Command) -> NDArray[np.float64]:
        """Return the weight tiles that a MATMUL reads, see `systolith.golden.weights`."""
        return weight_tiles(self.spec, self.weights.astype(np.uint8, copy=False), command)

    def channels(self, base: int, count: int) -> dict[str, Int64Array]:
        """Return every parameter of ``count`` channels from lane word ``base`` on.

        Raises
        ------
        ProgramError: if there are no such words.
        """
        words = -(-count // self.spec.post.lanes)
        if base + words > len(self.parameters):
            raise ProgramError(
                f"lane word must be below {len(self.parameters)}, not {base + words - 1}"
            )
        records = self.parameters[base : base + words].reshape(-1, 8)[:count].astype(np.int64)
        result = {}
        for field in PARAMETER_FIELDS:
            value = records[:, field.word]
            if field.bits > 32:
                value = value | records[:, field.word + 1] << np.int64(32)
            spare = np.int64(64 - field.bits)
            signed = (value << spare) >> spare
            result[field.name] = signed if field.signed else value & ((1 << field.bits) - 1)
        return result

    def write(
        self, target: Target, base: int, codes: NDArray[np.uint8], *, form: ParameterForm
    ) -> None:
        """Write a run of bytes as external memory holds them.

        Raises
        ------
        ProgramError: the run is not of whole words, or leaves the memory.
        """
        stride, memory = {
            Target.WEIGHTS: (window_stride(self.spec, Window.WEIGHTS), self.weights),
            Target.PARAMETERS: (lane_word_bytes(self.spec, form), self.parameters),
            Target.TABLES: (1, self.tables.reshape(-1)),
            Target.COMMANDS: (4, self.commands),
            Target.EXPONENTS: (4, self.exponents.reshape(-1)),
        }[target]
        count, rest = divmod(len(codes), stride)
        if rest:
            raise ProgramError(f"length must be a multiple of {stride}, not {len(codes)}")
        if not 0 <= base <= len(memory) - count:
            raise ProgramError(
                f"word of {target.name.lower()} must be below {len(memory)}, not {base + count - 1}"
            )
        part = memory[base : base + count]
        if target is Target.WEIGHTS:
            part[...] = codes.reshape(count, stride)[:, : self.spec.array.columns]
        elif target is Target.TABLES:
            part[...] = codes
        elif target in (Target.COMMANDS, Target.EXPONENTS):
            part[...] = codes.view("<u4")
        elif form is ParameterForm.WIDE:
            part[...] = codes.view("<u4").reshape(part.shape)
        elif form is ParameterForm.BIAS:
            part[..., 0] = codes.view("<u4").reshape(part.shape[:2])
        else:
            short = codes.view("<u4").reshape(count, -1, 4)  # UNIFORM: one for all lanes
            part[...] = 0
            part[..., :3] = short[..., :3]
            part[..., 3] = (short[..., 3].view("<i4") >> 8).view("<u4")
            part[..., 4] = short[..., 3] & 255


def _memory(
    image: NDArray[np.generic], depth: int, word: tuple[int, ...], whole: bool
) -> NDArray[np.generic]:
    """Return a copy of what is given, or the whole memory with 0 behind it."""
    if not whole:
        return np.array(image).reshape(-1, *word)
    memory = np.zeros((depth, *word), image.dtype)
    memory[: len(image)] = image
    return memory
