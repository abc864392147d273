"""Grants of ports against a loop over cycles; seeds are in the messages."""

import numpy as np

from systolith.cycles.ports import YIELDING, Port, PortLog, before, grant, next_free

NEVER = 10_000


def random_log(rng: np.random.Generator, regions: int) -> tuple[PortLog, set[tuple[int, int]]]:
    """A log noted piece by piece, and the set of its uses (cycle, region)."""
    log, uses, cycle = PortLog(regions), set(), 0
    for _ in range(int(rng.integers(6))):
        times = cycle + np.cumsum(rng.integers(1, 4, int(rng.integers(12))))
        where = rng.integers(0, regions, len(times)) if rng.integers(2) else np.full(len(times), 1)
        log.note(times, where)
        uses |= set(zip(times.tolist(), where.tolist(), strict=True))
        cycle = int(times[-1]) if len(times) else cycle
    return log, uses


def test_grants() -> None:
    for seed in range(400):
        rng = np.random.default_rng(seed)
        logs = [random_log(rng, 3) for _ in range(int(rng.integers(3)))]
        taken = set().union(*(uses for _, uses in logs))
        count, first = int(rng.integers(1, 30)), int(rng.integers(20))
        end = NEVER if rng.integers(2) else int(rng.integers(60))
        earliest = np.where(rng.integers(0, 4, count) == 0, rng.integers(0, 60, count), 0)
        # Region 3 has no memory: nobody has to wait there.
        where = rng.integers(0, 4, count) if rng.integers(2) else np.full(count, 1)
        cycle, wanted = first, []
        for i in range(count):
            cycle = max(cycle, int(earliest[i]))
            while (cycle, int(where[i])) in taken:
                cycle += 1
            if cycle >= end:
                break
            wanted.append(cycle)
            cycle += 1
        got = grant(first, earliest, where, [log for log, _ in logs], end)
        assert got.tolist() == wanted, seed


def test_next_free() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        logs = [random_log(rng, 2) for _ in range(2)]
        taken = logs[0][1] | logs[1][1]
        for start in range(0, 40, 3):
            end = start + int(rng.integers(1, 20))
            wanted = next((c for c in range(start, end) if (c, 1) not in taken), end)
            assert next_free(start, 1, [log for log, _ in logs], end) == wanted, (seed, start)


def test_log_answers_any_window() -> None:
    for seed in range(100):
        log, uses = random_log(np.random.default_rng(seed), 3)
        for first in range(0, 60, 7):
            for region in range(4):
                wanted = [c for c in range(first, first + 9) if (c, region) in uses]
                assert log.between(region, first, first + 9).tolist() == wanted, seed
            mask = 0b101
            found = log.any_between(mask, first, first + 9)
            assert found == any((c, g) in uses for c in range(first, first + 9) for g in (0, 2))


def test_priorities_have_no_circle() -> None:
    """Depthwise streams apart, who yields to whom orders the ports; then the stream comes first."""
    for port in set(Port) - {Port.URGENT}:
        seen, rest = set(), [port]
        while rest:
            for user in YIELDING[rest.pop()]:
                if user not in seen:
                    seen.add(user)
                    rest.append(user)
        assert port not in seen
    assert before(Port.RESIDUAL) == (Port.URGENT,)
    assert set(before(Port.SAVE)) == {Port.RESIDUAL, Port.STREAM, Port.COPY}
    assert set(before(Port.LOAD)) == {Port.POST, Port.LINE}
