"""What a comparison says, in sentences that a person without statistics can use."""

from __future__ import annotations

from collections.abc import Iterator

from hemoscope.comparison.compare import LEVEL, Comparison, Pair, Seeds
from hemoscope.comparison.write import shown_as
from hemoscope.evaluation.paired import images_needed

__all__ = ["sentences"]


def sentences(found: Comparison) -> Iterator[str]:
    """Yield one sentence a finding."""
    n, subjects = found.subjects[0].scores.n, found.subjects
    if len(subjects) > 1:
        best = [shown_as(subjects[i]) for i in range(found.groups[0][0], found.groups[0][1] + 1)]
        if len(best) > 1:
            yield (
                f"Not distinguishable on these {n:,} images: the first {len(best)}, {best[0]} to {best[-1]} (McNemar's exact "
                f"test, adjusted over all {len(found.pairs):,} pairs by Holm, level {100 * LEVEL:.0f} %). That one has fewer errors "
                "may be luck."
            )
        else:
            yield (
                f"{best[0]} is better than every other by more than luck explains (McNemar's exact test, adjusted over "
                f"all {len(found.pairs):,} pairs by Holm, level {100 * LEVEL:.0f} %)."
            )
        yield _first_two(found, found.pairs[0], n)
    if found.side == "val" and any(subject.name == "ensemble" for subject in subjects):
        yield "The ensemble was chosen by these same validation images, which flatters it; the test side does not."
    yield from map(_of_seeds, found.seeds)


def _first_two(found: Comparison, pair: Pair, n: int) -> str:
    first, second = found.subjects[pair.first], found.subjects[pair.second]
    if not pair.only_first + pair.only_second:
        return f"{shown_as(first)} and {shown_as(second)} are right and wrong on the same images."
    text = (
        f"{shown_as(first)} against {shown_as(second)}: {pair.only_first} images that only the one gets right, {pair.only_second} that "
        f"only the other does; p = {pair.p:.2g}. The first is the better one with a probability of {100 * pair.chance:.1f} %."
    )
    if pair.only_first == pair.only_second or pair.p_holm < LEVEL:
        return text
    needed = images_needed(pair.only_first / n, pair.only_second / n)
    return f"{text} " + (
        f"If they go on to differ as they do here, about {_rounded(needed):,} images would tell these two apart four times in five."
        if needed
        else "No number of images below ten million would tell these two apart."
    )


def _of_seeds(one: Seeds) -> str:
    spread = one.spread
    label = one.label.partition(" (")[0]
    return (
        f"{label}, {one.n_seeds} seeds: {100 * spread.mean:.2f} % on average, from seed to seed ± {100 * spread.sd:.2f} points. "
        f"Another training on other images of as many would lie ± {100 * spread.sd_both:.2f} points around it: "
        f"± {100 * spread.sd_seed:.2f} by the seed, ± {100 * spread.sd_images:.2f} by the images (standard deviations)."
    )


def _rounded(n: int) -> int:
    """Return a number with two figures that say something.

    >>> _rounded(100_096), _rounded(37)
    (100000, 37)
    """
    return int(float(f"{n:.1e}"))
