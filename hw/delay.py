"""Delay lines: straight, and the triangles that skew a systolic array's inputs."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.memory import Memory

__all__ = ["delay", "delay_samples", "skew"]


def delay(
    m: Module,
    value: Value,
    cycles: int,
    name: str,
    *,
    reset: bool = False,
    clear: Value | None = None,
) -> Value:
    """Return ``value`` delayed by ``cycles`` registers (without reset unless ``reset``).

    All registers become 0 while ``clear`` is high.
    """
    for i in range(cycles):
        stage = Signal(value.shape(), name=f"{name}_{i + 1}", reset_less=not reset)
        m.d.sync += stage.eq(value)
        if clear is not None:
            with m.If(clear):
                m.d.sync += stage.eq(0)
        value = stage
    return value


def delay_samples(
    m: Module, valid: Value, values: Mapping[str, Value], cycles: int, name: str
) -> dict[str, Value]:
    """Return what belongs to a sample, delayed by ``cycles`` >= 2: a ring memory, not registers.

    Parameters
    ----------
    valid: there is a sample in this cycle.
    values: what belongs to it.
    name: of the memory.

    Returns
    -------
    The values, and `valid`.
    """
    depth = 1 << cycles.bit_length()
    width = sum(len(value) for value in values.values())
    m.submodules[name] = memory = Memory(shape=width, depth=depth, init=[])
    read, write = memory.read_port(), memory.write_port()
    asked = delay(m, valid, cycles - 1, f"{name}_asked", reset=True)
    into, out = Signal(range(depth), name=f"{name}_into"), Signal(range(depth), name=f"{name}_out")
    m.d.comb += [
        write.en.eq(valid), write.addr.eq(into), write.data.eq(Cat(*values.values())),
        read.en.eq(asked), read.addr.eq(out),
    ]  # fmt: skip
    with m.If(valid):
        m.d.sync += into.eq(into + 1)
    with m.If(asked):
        m.d.sync += out.eq(out + 1)
    result: dict[str, Value] = {"valid": delay(m, asked, 1, f"{name}_valid", reset=True)}
    place = 0
    for key, value in values.items():
        result[key] = read.data[place : place + len(value)]
        place += len(value)
    return result


def skew(m: Module, value: Value, width: int, name: str, step: int = 1) -> list[Value]:
    """Cut ``value`` into elements of ``width`` bits and delay element i by i * ``step`` cycles.

    The triangle is kept as one register a cycle of delay, each an element narrower than the last:
    wide registers simulate faster than many small ones and cost the same flip-flops.
    """
    elements = [value[:width]]
    rest = value[width:]
    i = 1
    while len(rest):
        for _ in range(step):
            stage = Signal(len(rest), name=f"{name}_skew{i}", reset_less=True)
            m.d.sync += stage.eq(rest)
            rest = stage
            i += 1
        elements.append(rest[:width])
        rest = rest[width:]
    return elements
