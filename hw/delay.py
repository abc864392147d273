"""Delay lines: straight, and the triangles that skew a systolic array's inputs."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["delay", "skew"]


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
