"""Register stages that align values by themselves, for datapaths which never stall."""

from amaranth.hdl import Const, Module, Signal, Value, ValueLike

__all__ = ["Pipeline"]


class Pipeline:
    """Named values moving through the register stages of a free-running datapath.

    A value written at one stage and read at a later one passes through one register a stage in
    between; registers exist only for values that are read. They load only what belongs to a
    sample, so that a datapath without samples stands still: clock enables that save power, and
    simulation time. They have no reset: what comes out in the first cycles belongs to no sample.

    Parameters
    ----------
    m: where wires and registers go.
    valid: whether there is a sample at stage 0 in this cycle; always, if not given.
    """

    def __init__(self, m: Module, valid: Value | None = None) -> None:
        self.m = m
        self.stage = 0
        self._valid = [Const(1) if valid is None else valid]
        self._delayed: dict[str, list[Value]] = {}
        self._born: dict[str, int] = {}

    def __setitem__(self, name: str, value: ValueLike) -> None:
        """Define ``name`` at the present stage, of the width of ``value``."""
        self._delayed[name] = [self.wire(f"{name}_{self.stage}", value)]
        self._born[name] = self.stage

    def __getitem__(self, name: str) -> Value:
        """Value of ``name`` for the sample that is at the present stage."""
        chain, born = self._delayed[name], self._born[name]
        while len(chain) <= self.stage - born:
            register = Signal.like(chain[0], name=f"{name}_{born + len(chain)}", reset_less=True)
            with self.m.If(self._valid[born + len(chain) - 1]):
                self.m.d.sync += register.eq(chain[-1])
            chain.append(register)
        return chain[self.stage - born]

    def wire(self, name: str, value: ValueLike) -> Signal:
        """Name an intermediate result, so that an expression used twice exists once."""
        wire = Signal(Value.cast(value).shape(), name=name)
        self.m.d.comb += wire.eq(value)
        return wire

    @property
    def valid(self) -> Value:
        """Whether there is a sample at the present stage."""
        return self._valid[self.stage]

    def advance(self, stages: int = 1) -> None:
        """Go on to the next stage, or by several."""
        for _ in range(stages):
            self.stage += 1
            if isinstance(self._valid[-1], Const):
                self._valid.append(self._valid[-1])
                continue
            valid = Signal(name=f"valid_{self.stage}")
            self.m.d.sync += valid.eq(self._valid[-1])
            self._valid.append(valid)
