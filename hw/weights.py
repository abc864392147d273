"""The weight memory and the loader that keeps the array's shadow weights filled."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out

from systolith.hw.delay import delay
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.loops import LoopNest
from systolith.hw.queue import CommandQueue
from systolith.hw.technology import Technology
from systolith.hw.weight_decoder import weight_bits
from systolith.hw.weight_words import WeightWords
from systolith.hw.words import weight_part_bytes
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode, Unit
from systolith.spec.precision import WeightFormat
from systolith.spec.registers import Window, window_stride

__all__ = ["WeightLoader"]

_LOOPS = ("t", "n", "ky", "kx", "kc")


class WeightLoader(wiring.Component):
    """Send weight tiles into the array in the order of the MATMUL commands, one tile ahead.

    A tile takes `rows` cycles; the next one starts in the cycle in which the feeder switches to the
    last (`i_switch`), so tiles of `rows` vectors follow each other without a bubble: ``ready`` is
    high exactly `rows` cycles after that switch. Codebooks and bitmaps take longer, see
    `WeightWords`.

    Latency: 2 cycles from the memory's address to `o_w`.

    Parameters
    ----------
    spec: array size, weight memory, queue depth.
    technology: for which the memory is made; one with a single port delays the host's writes while
        the loader reads.

    Members
    -------
    push, push_ready, i: MATMUL commands, as fetched.
    load_ready, load_start: a token of unit LOAD is there; a command that waits for it starts to
        read its weights, and consumes it.
    i_switch: the feeder issues the first vector that uses the loaded tile.
    ready: the shadow weights are complete when that vector reaches the array.
    o_w, o_shift: to the array.
    o_nibbles: `o_w` are operands of nibbles; only with precisions of nibbles.
    h_valid, h_address, h_lane, h_strobe, h_data, h_ready: host writes; word address, 32-bit lane of
        the word.
    d_valid, d_address, d_part, d_data: with an external memory: LOAD writes part `d_part` of a word
        as external memory has it, in place of the host.
    busy: commands are waiting or being loaded.
    """

    def __init__(self, spec: AcceleratorSpec, technology: Technology = Technology.GENERIC):
        self.spec = spec
        columns = spec.array.columns
        # The large memories of an iCE40 have one port. LOAD, which writes while the loader reads,
        # needs two.
        self.one_port = technology is Technology.ICE40 and not spec.external.data_bytes
        # Whether what makes operands of a word is behind the register that ends the latency.
        array = spec.array
        self.late = array.multiplier_stages > 0 and array.weight_formats == {WeightFormat.DENSE}
        self.address_bits = max(1, (spec.weight_words - 1).bit_length())
        super().__init__(
            {
                "push": In(1), "push_ready": Out(1), "i": In(command_bits(Opcode.MATMUL)),
                "load_ready": In(1), "load_start": Out(1),
                "i_switch": In(1), "ready": Out(1),
                "o_w": Out(weight_bits(spec) * columns), "o_shift": Out(spec.array.rows),
                "h_valid": In(1), "h_address": In(self.address_bits),
                "h_lane": In(range(max(2, -(-columns // 4)))), "h_strobe": In(4), "h_data": In(32),
                "h_ready": Out(1), "busy": Out(1),
                **({"o_nibbles": Out(1)} if spec.array.nibbles else {}),
                **self._load_members(),
            }
        )  # fmt: skip
        self.memory = Memory(shape=8 * columns, depth=spec.weight_words, init=[])

    def elaborate(self, platform: object) -> Module:
        """Queue, loop counters, one address register, and the decoding of the words read."""
        m = Module()
        spec = self.spec
        rows = spec.array.rows
        m.submodules.queue = queue = CommandQueue(len(self.i), spec.queue_depth)
        m.submodules.nest = nest = LoopNest(
            len(_LOOPS), 0, address_bits=1, count_bits=spec.count_bits
        )
        m.submodules.memory = memory = self.memory
        read, write = memory.read_port(), memory.write_port(granularity=8)
        fields = command_fields(Opcode.MATMUL, queue.o, spec.count_bits)
        m.d.comb += [
            queue.push.eq(self.push), queue.i.eq(self.i), self.push_ready.eq(queue.ready),
            self.busy.eq(queue.valid),
        ]  # fmt: skip
        for d, name in enumerate(_LOOPS):
            m.d.comb += getattr(nest, f"count{d}").eq(fields[f"{name}_count"])

        active = Signal()  # the nest is loaded for the queue's head
        pending = Signal()  # a tile is loaded, or being loaded, and not yet switched to
        word = Signal(range(rows + 1))  # rows of the tile that are loaded; 0: none
        m.submodules.words = words = WeightWords(spec)
        go = active & words.ready & (word == 0) & (~pending | self.i_switch)
        goes_on = words.ready & (word != 0)
        row = go | goes_on  # a row is read, or cut out of what was
        # The switch, which comes late, is asked about the first row only.
        last = (goes_on if rows > 1 else go) & (word == rows - 1)
        waits = fields["wait"][Unit.LOAD]
        starts = queue.valid & ~active & (self.load_ready | ~waits)
        m.d.comb += [nest.load.eq(~active), self.load_start.eq(starts & waits)]
        m.d.sync += active.eq(active | starts)
        with m.If(self.i_switch):
            m.d.sync += [pending.eq(0), self.ready.eq(0)]
        with m.If(go):
            m.d.sync += pending.eq(1)
        with m.If(row):
            m.d.sync += word.eq(word + 1)
        with m.If(last):
            m.d.sync += [word.eq(0), self.ready.eq(1)]
            m.d.comb += nest.step.eq(1)
            with m.If(nest.done | fields["w_hold"]):
                m.d.comb += queue.pop.eq(1)
                m.d.sync += active.eq(0)
        group_ends = nest.last2 & nest.last3 & nest.last4
        m.d.comb += [
            words.load.eq(starts), words.active.eq(active), words.row.eq(row),
            words.last.eq(last), words.group_ends.eq(group_ends),
            words.again.eq(group_ends & nest.last1), self.h_ready.eq(1),
            # What is read is taken in the next cycle or never, so that an early enable will do.
            read.addr.eq(words.address), read.en.eq(words.read if self.one_port else active),
        ]  # fmt: skip
        for name in words.fields:
            decodes = self.late and name != "w_base"
            m.d.comb += getattr(words, name).eq(delay(m, fields[name], int(decodes), name))
        self._shift(m, row, word, words, read.data)
        self._writes(m, write)
        if self.one_port:
            m.d.comb += [self.h_ready.eq(~words.read), read.addr.eq(write.addr)]
            with m.If(words.read):
                m.d.comb += [write.addr.eq(words.address), write.en.eq(0)]
        return m

    def _shift(self, m: Module, row: Value, word: Value, words: WeightWords, data: Value) -> None:
        """A row of operands to the array, two cycles after it was read, and shift enables.

        A large block RAM takes most of a cycle. Where the array begins with a register of its own,
        the one of the operands is moved in front of what makes them of a word.
        """
        reached = Signal(self.spec.array.rows)  # rows that the words of the tile have reached
        is_row = Signal()
        m.d.sync += is_row.eq(row)
        with m.If(row):
            m.d.sync += reached.eq(Mux(word == 0, 1, (reached << 1) | 1))
        outputs = [self.o_w.eq(words.o)]
        if self.spec.array.nibbles:
            outputs.append(self.o_nibbles.eq(words.o_nibbles))
        if self.late:
            kept = Signal(len(data), reset_less=True)
            with m.If(is_row):
                m.d.sync += kept.eq(data)
            m.d.comb += [words.data.eq(kept), *outputs]
        else:
            m.d.comb += words.data.eq(data)
            with m.If(is_row):
                m.d.sync += outputs
        m.d.sync += self.o_shift.eq(Mux(is_row, reached, 0))

    def _load_members(self) -> dict[str, wiring.Member]:
        """The write port of LOAD, if there is one."""
        spec = self.spec
        if not spec.external.data_bytes:
            return {}
        part = weight_part_bytes(spec)
        parts = window_stride(spec, Window.WEIGHTS) // part
        return {
            "d_valid": In(1), "d_address": In(self.address_bits),
            "d_part": In(range(max(2, parts))), "d_data": In(8 * part),
        }  # fmt: skip

    def _writes(self, m: Module, write: WritePort) -> None:
        """The host writes bytes of 32 bits of a word, LOAD a word or a part of it."""
        columns = self.spec.array.columns
        lane_bits = Signal(4 * -(-columns // 4))
        m.d.comb += lane_bits.word_select(self.h_lane, 4).eq(Mux(self.h_valid, self.h_strobe, 0))
        m.d.comb += [
            write.addr.eq(self.h_address),
            write.data.eq(self.h_data.replicate(-(-columns // 4))),
            write.en.eq(lane_bits),
        ]
        if not self.spec.external.data_bytes:
            return
        part = len(self.d_data) // 8
        part_bits = Signal(part * -(-columns // part))
        m.d.comb += part_bits.word_select(self.d_part, part).eq(~Const(0, part))
        with m.If(self.d_valid):
            m.d.comb += [
                write.addr.eq(self.d_address),
                write.data.eq(self.d_data.replicate(-(-columns // part))),
                write.en.eq(part_bits),
            ]
