"""What a comparison says, in sentences that a person without statistics can use."""

from __future__ import annotations

from collections.abc import Iterator

from hemoscope.comparison.compare import LEVEL, Comparison, Pair, Seeds
from hemoscope.comparison.write import shown_as
from hemoscope.evaluation.paired import images_needed
from hemoscope.report.formats import counted

__all__ = ["sentences"]


def sentences(found: Comparison) -> Iterator[str]:
    """Yield one sentence a finding."""
    subjects, name = found.subjects, shown_as(found.subjects[found.preferred])
    if len(subjects) > 1:
        mine = [pair for pair in found.pairs if found.preferred in (pair.first, pair.second)]
        others = {pair.first + pair.second - found.preferred: pair for pair in mine}
        same = [i for i, pair in others.items() if pair.p_holm >= LEVEL]
        verdicts = (
            ("not distinguishable from it", same),
            ("worse", [i for i in others if i > found.preferred and i not in same]),
            ("better", [i for i in others if i < found.preferred and i not in same]),
        )
        told = "; ".join(
            f"{how}: {_listed([shown_as(subjects[i]) for i in which])}" for how, which in verdicts if which
        )
        prefers = (
            f"Validation prefers {name}."
            if found.by_validation
            else f"Without validation images none is preferred; beside {name}:"
        )
        yield (
            f"{prefers} {_on_these(subjects[0].scores.n)}, {told} (McNemar's exact test, adjusted "
            f"over all {len(found.pairs):,} pairs by Holm, level {100 * LEVEL:.0f} %)."
        )
        nearest = min(others, key=lambda i: (abs(others[i].only_first - others[i].only_second), i))
        yield _beside(found, others[nearest])
    if found.side == "val":
        yield "These images chose among the runs, which flatters the chosen one; the test side did not."
    yield from map(_of_seeds, found.seeds)


def _on_these(n: int) -> str:
    return "On this one image" if n == 1 else f"On these {n:,} images"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _beside(found: Comparison, pair: Pair) -> str:
    first, second = (shown_as(found.subjects[i]) for i in (pair.first, pair.second))
    if not pair.only_first + pair.only_second:
        return f"{first} and {second} are right and wrong on the same images."
    text = (
        f"{first} against {second}: {counted(pair.only_first, 'image')} that only the one gets right, {pair.only_second} that "
        f"only the other does; p = {pair.p:.2g}. The first is the better one with a probability of {100 * pair.chance:.1f} %."
    )
    if pair.only_first == pair.only_second or pair.p_holm < LEVEL:
        return text
    n = found.subjects[0].scores.n
    level = _left_by_holm(found, pair)
    needed = images_needed(pair.only_first / n, pair.only_second / n, alpha=level)
    at_level = f" at the level of {100 * level:.2g} % that Holm leaves to them" if level < LEVEL else ""
    return f"{text} " + (
        f"If they go on to differ as they do here, about {_rounded(needed):,} images would tell these two apart{at_level} four times in five."
        if needed
        else f"No number of images below ten million would tell these two apart{at_level}."
    )


def _left_by_holm(found: Comparison, pair: Pair) -> float:
    """Return the level of a pair's test: a share for every pair that is no surer, less where a surer one is not told apart."""
    return min(LEVEL / sum(other.p >= pair.p for other in found.pairs), LEVEL * pair.p / pair.p_holm)


def _of_seeds(one: Seeds) -> str:
    spread = one.spread
    if not spread.sd_both:  # every seed is right on all images, or on none
        return (
            f"{one.label}, {one.n_seeds} seeds: {100 * spread.mean:.2f} % with each of them. What another training, or other images, "
            "would change these images cannot tell: none of them is answered otherwise than the rest."
        )
    return (
        f"{one.label}, {one.n_seeds} seeds: {100 * spread.mean:.2f} % on average, from seed to seed ± {100 * spread.sd:.2f} points. "
        f"Another training on other images of as many would lie ± {100 * spread.sd_both:.2f} points around it: "
        f"± {100 * spread.sd_seed:.2f} by the seed, ± {100 * spread.sd_images:.2f} by the images (standard deviations)."
    )


def _rounded(n: int) -> int:
    """Return a number with two figures that say something.

    >>> _rounded(100_096), _rounded(37)
    (100000, 37)
    """
    return int(float(f"{n:.1e}"))
