"""Drive one block in Amaranth's simulator: streams with idle and stalled cycles, or a coroutine.

For unit tests of blocks; whole accelerators run in Verilator (`systolith.sim.dut`).
"""

import functools
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from amaranth.lib.wiring import Component
from amaranth.sim import Simulator, SimulatorContext

from systolith.sim.binding import SimulationError

__all__ = ["PATTERNS", "Testbench", "run_streams", "simulate"]

Testbench = Callable[[SimulatorContext], Awaitable[None]]
_PERIOD = 1e-8

# Ways in which a side of a handshake is active: generator of "active in this cycle".
PATTERNS: dict[str, Callable[[random.Random], Iterator[bool]]] = {
    "none": lambda rng: itertools.repeat(True),
    "3of4": lambda rng: itertools.cycle([True, True, True, False]),
    "random": lambda rng: (rng.random() < 0.5 for _ in itertools.count()),
}


def simulate(component: Component, *testbenches: Testbench, vcd: str | None = None) -> None:
    """Run testbench coroutines on a component until all have returned.

    Parameters
    ----------
    component: block with or without a `sync` domain.
    testbenches: `async def bench(ctx)`; `await ctx.tick()` waits for the clock.
    vcd: path of a waveform file, or None.
    """
    simulator = Simulator(component)
    simulator.add_clock(_PERIOD, if_exists=True)
    for bench in testbenches:
        simulator.add_testbench(bench)
    if vcd is None:
        simulator.run()
    else:
        with simulator.write_vcd(vcd):
            simulator.run()


def _assign(ctx: SimulatorContext, target: Any, value: Any) -> None:
    """Set a port, or the fields of a structure from a mapping."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            _assign(ctx, getattr(target, name), part)
    else:
        ctx.set(target, value)


def _producer(
    stream: Any,
    payloads: Sequence[Any],
    left: dict[str, int],
    name: str,
    active: Iterator[bool],
    limit: int,
) -> Testbench:
    """Offer payloads while ``active`` says so; count down ``left[name]``."""

    async def bench(ctx: SimulatorContext) -> None:
        valid = False
        for _ in range(limit):
            if not valid and left[name] and next(active):
                _assign(ctx, stream.payload, payloads[-left[name]])
                valid = True
            ctx.set(stream.valid, valid)
            _, _, ready = await ctx.tick().sample(stream.ready)
            if valid and ready:
                valid = False
                left[name] -= 1
            if not left[name]:
                break
        ctx.set(stream.valid, 0)

    return bench


def _consumer(
    stream: Any,
    results: list[Any],
    finished: Callable[[], bool],
    active: Iterator[bool],
    limit: int,
    settle: int,
) -> Testbench:
    """Take payloads while ``active`` says so, until ``settle`` cycles after all is finished."""

    async def bench(ctx: SimulatorContext) -> None:
        quiet = 0
        for _ in range(limit):
            ready = next(active)
            ctx.set(stream.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if valid and ready:
                results.append(payload)
            quiet = quiet + 1 if finished() else 0
            if quiet > settle:
                return

    return bench


def run_streams(
    component: Component,
    stimulus: Mapping[str, Sequence[Any]],
    collect: Mapping[str, int],
    *,
    idle: str = "none",
    backpressure: str = "none",
    seed: int = 0,
    constants: Mapping[str, Any] | None = None,
    limit: int = 100_000,
    settle: int = 20,
) -> dict[str, list[Any]]:
    """Send payloads into streams, and return those that come out; nothing may be left over.

    Each stream is stalled by its own pattern of `PATTERNS`, drawn from `seed` and its name.

    Parameters
    ----------
    stimulus: attribute of an input stream -> payloads (integers, or mappings for structures).
    collect: attribute of an output stream -> number of payloads expected.
    idle, backpressure: "none", "3of4" or "random": when producers and consumers pause.
    constants: other input ports, set before the first cycle.
    limit: cycles after which the run has failed.
    settle: cycles to go on after the last payload, in which no more may come.

    Raises
    ------
    SimulationError: payloads are missing after `limit` cycles, or there are more than expected.
    """
    results: dict[str, list[Any]] = {name: [] for name in collect}
    left = {name: len(payloads) for name, payloads in stimulus.items()}

    def finished(name: str) -> bool:
        return len(results[name]) >= collect[name] and not any(left.values())

    def pattern(kind: str, name: str) -> Iterator[bool]:
        return PATTERNS[kind](random.Random(f"{seed} {name}"))

    producers = [
        _producer(getattr(component, name), payloads, left, name, pattern(idle, name), limit)
        for name, payloads in stimulus.items()
    ]
    consumers = [
        _consumer(
            getattr(component, name),
            results[name],
            functools.partial(finished, name),
            pattern(backpressure, name),
            limit,
            settle,
        )
        for name in collect
    ]

    async def constant(ctx: SimulatorContext) -> None:
        for name, value in (constants or {}).items():
            _assign(ctx, getattr(component, name), value)

    simulate(component, constant, *producers, *consumers)
    for name, expected in collect.items():
        if len(results[name]) != expected:
            raise SimulationError(
                f"stream {name} must give {expected} payloads, not {len(results[name])} "
                f"(idle {idle}, backpressure {backpressure}, seed {seed})"
            )
    if any(left.values()):
        raise SimulationError(f"streams must take all payloads, but {left} were left")
    return results
