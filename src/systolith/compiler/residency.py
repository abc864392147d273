"""Which blocks of constants a memory on chip holds when, and from when on they can be loaded."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

__all__ = ["Arrival", "Residency", "Use", "place_blocks"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """Command number ``at`` needs the block ``key`` of ``size`` addresses."""

    at: int
    key: Hashable
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A block is loaded.

    Parameters
    ----------
    key, size: the block.
    address: where to.
    after: the last command that uses what lay there before, -1 for none.
    before: the first command that needs it.
    """

    key: Hashable
    size: int
    address: int
    after: int
    before: int


@dataclass(kw_only=True)
class Residency:
    """The result of `place_blocks`.

    Parameters
    ----------
    arrivals: in the order of their first uses.
    addresses: of the block, for every use.
    peak: addresses that are ever used.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    addresses: list[int] = field(default_factory=list)
    peak: int = 0


@dataclass(kw_only=True, slots=True)
class _Resident:
    """A block, or with key None what is left of one."""

    key: Hashable
    start: int
    end: int
    last: int
    following: int


_NEVER = 1 << 60


def _following(uses: Sequence[Use], capacity: int) -> list[int]:
    """For every use the command of the same block's next use, if it is worth staying for.

    It is not if a memory full of other blocks is used before: keeping it would leave the others
    less room to be loaded ahead.
    """
    result, later = [_NEVER] * len(uses), dict[Hashable, int]()
    used = [0, *accumulate(use.size for use in uses)]
    for index in range(len(uses) - 1, -1, -1):
        following = later.get(uses[index].key)
        if following is not None and used[following] - used[index + 1] <= capacity // 2:
            result[index] = uses[following].at
        later[uses[index].key] = index
    return result


def place_blocks(uses: Sequence[Use], capacity: int) -> Residency:
    """Give every used block an address; a block that has to leave is loaded again.

    A new block takes the place of blocks that are not needed again, of these the ones whose last
    use is longest ago, so that it can be loaded early. If all fits, nothing ever leaves.

    Parameters
    ----------
    uses: in program order; no block is larger than the memory.
    capacity: addresses of the memory.
    """
    result = Residency()
    residents: list[_Resident] = []
    following = _following(uses, capacity)
    for use, after in zip(uses, following, strict=True):
        known = next((r for r in residents if r.key == use.key), None)
        if known is None:
            known = _arrive(use, residents, capacity, result)
        known.last, known.following = use.at, after
        result.addresses.append(known.start)
    result.peak = max((a.address + a.size for a in result.arrivals), default=0)
    return result


def _arrive(use: Use, residents: list[_Resident], capacity: int, result: Residency) -> _Resident:
    """Choose a place, evict what lies there, and note the arrival; ``residents`` stay sorted."""
    edges = {0, capacity - use.size}
    for other in residents:
        edges |= {other.end, other.start - use.size}
    options = []
    for start in sorted(edges):
        if 0 <= start <= capacity - use.size:
            lost = [r for r in residents if r.start < start + use.size and start < r.end]
            reload = sum(r.end - r.start for r in lost if r.following < _NEVER)
            last = max((r.last for r in lost), default=-1)
            options.append((reload, last, start))
    _, last, start = min(options)
    end = start + use.size
    arrived = _Resident(key=use.key, start=start, end=end, last=-1, following=0)
    kept = [arrived]
    for other in residents:
        if other.end <= start or end <= other.start:
            kept.append(other)
            continue
        # What is left of a block that leaves still was in use until then.
        for low, high in ((other.start, start), (end, other.end)):
            if low < high:
                rest = _Resident(key=None, start=low, end=high, last=other.last, following=_NEVER)
                kept.append(rest)
    residents[:] = sorted(kept, key=lambda r: r.start)
    result.arrivals.append(
        Arrival(key=use.key, size=use.size, address=start, after=last, before=use.at)
    )
    return arrived
