"""The load unit by itself: when it finishes, and which words it writes in which cycle."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.load import LoadUnit
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, ParameterForm, Target, encode
from systolith.spec.registers import lane_word_bytes

Writes = list[tuple[int, ...]]


def spec_of(data_bytes: int, lanes: int = 3) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=32, columns=12),
        memory=MemorySpec(weight_bytes=12 * 32, parameter_channels=12 * 4),
        post=PostSpec(lanes=lanes),
        external=ExternalSpec(data_bytes=data_bytes, burst_beats=256),
    )


def run(unit: LoadUnit, fields: dict[str, int], beats: list[int], ports: list[str]) -> Writes:
    """Give the beats of a command at full speed; return (cycle, *ports) of every write."""
    writes: Writes = []
    finished: list[int] = []
    valid = f"{ports[0][0]}_valid"

    async def bench(ctx: SimulatorContext) -> None:
        words = encode(Opcode.LOAD, **fields)
        ctx.set(unit.i, sum(w << 32 * i for i, w in enumerate(words)))
        ctx.set(unit.push, 1)
        ctx.set(unit.start_ready, 1)
        ctx.set(unit.b_ready, 1)
        ctx.set(unit.l_ready, 1)
        await ctx.tick()
        ctx.set(unit.push, 0)
        await ctx.tick().until(unit.b_valid)
        await ctx.tick().repeat(3)
        left = list(beats)
        for cycle in range(1000):
            ctx.set(unit.i_valid, bool(left))
            ctx.set(unit.i_data, left[0] if left else 0)
            if ctx.get(getattr(unit, valid)):
                writes.append((cycle, *(ctx.get(getattr(unit, port)) for port in ports)))
            if ctx.get(unit.finish):
                finished.append(cycle)
            if left and ctx.get(unit.i_ready):
                left.pop(0)
            await ctx.tick()
            if finished and cycle > finished[0] + 3:
                break
        assert not ctx.get(unit.busy)

    simulate(unit, bench)
    assert finished == [writes[-1][0] + ActivationMemory.write_latency]
    return writes


def beats_of(codes: np.ndarray, size: int, offset: int = 0) -> list[int]:
    """A run of bytes as beats, its first byte at ``offset``."""
    padded = np.concatenate([np.full(offset, 0xEE, np.uint8), codes])
    padded = np.pad(padded, (0, -len(padded) % size))
    return [int.from_bytes(row.tobytes(), "little") for row in padded.reshape(-1, size)]


@pytest.mark.parametrize("size", [4, 32])
def test_activations_a_beat_a_cycle(size: int) -> None:
    codes = np.arange(1, 10 * size + 1, dtype=np.uint8)
    fields = {"e_base": 3, "m_base": 700, "length": len(codes)}
    writes = run(
        LoadUnit(spec_of(size)), fields, beats_of(codes, size, 3),
        ["l_address", "l_count", "l_data"],
    )  # fmt: skip
    assert [cycle for cycle, *_ in writes] == list(range(1, 12))
    address = 700
    for _, place, count, data in writes:
        assert place == address
        got = data.to_bytes(size, "little")[:count]
        assert got == codes[address - 700 : address - 700 + count].tobytes()
        address += count
    assert address == 700 + len(codes)


@pytest.mark.parametrize(("size", "cycles"), [(4, 12), (8, 6), (16, 3), (32, 3)])
def test_weight_words(size: int, cycles: int) -> None:
    """Three words of 16 bytes: a beat or a word a cycle."""
    codes = np.arange(48, dtype=np.uint8)
    fields = {"target": int(Target.WEIGHTS), "e_base": 32, "m_base": 9, "length": 48}
    writes = run(
        LoadUnit(spec_of(size)), fields, beats_of(codes, size), ["w_address", "w_part", "w_data"]
    )
    part = min(size, 16)
    assert len(writes) == cycles
    for k, (_, address, index, data) in enumerate(writes):
        assert (address, index) == (9 + k * part // 16, k * part % 16 // part)
        assert data.to_bytes(part, "little") == codes[k * part : (k + 1) * part].tobytes()


@pytest.mark.parametrize("form", ParameterForm)
@pytest.mark.parametrize("lanes", [3, 4])
@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_parameters(size: int, lanes: int, form: ParameterForm) -> None:
    """Two lane words, a part a cycle; words that a form has not stay as they are."""
    spec = spec_of(size, lanes)
    codes = np.random.default_rng(size).integers(1, 256, 2 * lane_word_bytes(spec, form))
    codes = codes.astype(np.uint8)
    fields = {"target": int(Target.PARAMETERS), "m_base": 1, "length": len(codes)}
    writes = run(
        LoadUnit(spec), fields | {"form": int(form)}, beats_of(codes, size),
        ["p_address", "p_lanes", "p_enable", "p_data"],
    )  # fmt: skip
    biases = 1 if lanes == 3 else min(size // 4, 4)
    part = min(size, {ParameterForm.WIDE: 32, ParameterForm.BIAS: 4 * biases}.get(form, 16))
    assert len(writes) == len(codes) // part
    got = np.full((2, lanes, 8), 0xDEAD, np.uint32)
    for _, address, chosen, enable, data in writes:
        for lane, i in np.ndindex(lanes, 8):
            if chosen >> lane & enable >> i & 1:
                assert got[address - 1, lane, i] == 0xDEAD, "a word is written once"
                number = lane % biases if i == 0 else biases - 1 + i
                got[address - 1, lane, i] = data >> 32 * number & 0xFFFFFFFF
    words = codes.view("<u4")
    if form is ParameterForm.WIDE:
        np.testing.assert_array_equal(got, words.reshape(2, lanes, 8))
    elif form is ParameterForm.BIAS:
        np.testing.assert_array_equal(got[..., 0], words.reshape(2, lanes))
        assert (got[..., 1:] == 0xDEAD).all()
    else:
        short = np.broadcast_to(words.reshape(2, -1, 4), (2, lanes, 4))
        np.testing.assert_array_equal(got[..., :3], short[..., :3])
        np.testing.assert_array_equal(got[..., 3].view("<i4"), short[..., 3].view("<i4") >> 8)
        np.testing.assert_array_equal(got[..., 4] & 255, short[..., 3] & 255)


@pytest.mark.parametrize("size", [4, 16])
def test_tables_and_commands(size: int) -> None:
    codes = np.random.default_rng(size).integers(0, 256, 24).astype(np.uint8)
    fields = {"target": int(Target.TABLES), "e_base": 1, "m_base": 300, "length": 24}
    writes = run(LoadUnit(spec_of(size)), fields, beats_of(codes, size, 1), ["t_address", "t_data"])
    assert [w[1:] for w in writes] == [(300 + i, int(c)) for i, c in enumerate(codes)]
    fields = {"target": int(Target.COMMANDS), "e_base": 4, "m_base": 60, "length": 24}
    writes = run(LoadUnit(spec_of(size)), fields, beats_of(codes, size, 4 % size),
                 ["c_address", "c_data"])  # fmt: skip
    words = codes.view("<u4")
    assert [w[1:] for w in writes] == [(60 + i, int(word)) for i, word in enumerate(words)]
