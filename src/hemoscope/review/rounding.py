"""Percentages that add up to 100."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["percents"]


def percents(counts: Sequence[int], *, decimals: int = 1) -> list[float]:
    """Return percentages, rounded so that they add up to 100, by the largest remainder (Hamilton's rule).

    Each is rounded down; what is missing goes, a last digit each, to those that lost most, of equal ones to the larger
    count, then to the first. So none is off by a whole last digit.

    Args:
        counts: Whole, not negative. Where all are 0, so are the percentages.
        decimals: Digits behind the point.

    >>> percents([1, 1, 1]), percents([199, 1, 0])
    ([33.4, 33.3, 33.3], [99.5, 0.5, 0.0])
    """
    n, whole = sum(counts), 100 * 10**decimals
    if not n:
        return [0.0] * len(counts)
    floors = [whole * count // n for count in counts]
    lost = sorted(range(len(counts)), key=lambda i: (-(whole * counts[i] % n), -counts[i], i))
    for i in lost[: whole - sum(floors)]:
        floors[i] += 1
    return [units / 10**decimals for units in floors]
