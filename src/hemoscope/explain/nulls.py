"""What a heatmap has to beat before it says anything: maps that know nothing of the image or of the network.

A cell lies in the middle of its image, so a blob there finds what decides without any network. A map is worth
a look where it orders the pixels better than that blob, than the map of another image, than the map of the
same network with random weights, and than a random order, whose score is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from hemoscope.explain.road import road
from hemoscope.predict.network import Network
from hemoscope.records import FloatArray

__all__ = ["MARGIN", "NULLS", "Claim", "Trial", "blobs", "claims", "examine", "mean_trial"]

NULLS = {
    "blob": "a blob in the middle",
    "other": "the map of another image",
    "randomised": "the map of the same network with random weights",
}
MARGIN = 0.05  # of probability: less is no finding
FEWEST = 5  # images from which something is said of all together


@dataclass(frozen=True, slots=True)
class Trial:
    """What a heatmap scored in `road`, and what its nulls scored on the same image.

    Attributes:
        score: Of the map, -1 to 1; NaN if the map is flat.
        blob: Of the best of five Gaussians in the middle. Their width does not matter: only the order counts.
        other: Of maps of other images, on average; NaN if there are none.
        randomised: Of the map of the network with random weights.
        similarity: Spearman's rank correlation of the map with that of random weights, -1 to 1; NaN if
            either is flat. Near 1, the map shows the architecture and not what was learnt.
    """

    score: float
    blob: float
    other: float
    randomised: float
    similarity: float

    def more_than(self, null: str) -> bool | None:
        """Tell whether the map says more than a null; None where there was no such null."""
        bar = getattr(self, null)
        return None if np.isnan(bar) else bool(self.score > max(bar, 0) + MARGIN)

    def in_words(self) -> str:
        """Return what may be believed of the map.

        >>> Trial(score=0.4, blob=0.1, other=0.38, randomised=0.0, similarity=0.1).in_words()
        'says no more than the map of another image'
        """
        if np.isnan(self.score):
            return "is flat: it points nowhere"
        if self.score <= MARGIN:
            return "says no more than a random order"
        verdicts = {words: self.more_than(null) for null, words in NULLS.items()}
        missed = [words for words, more in verdicts.items() if more is False]
        if missed:
            return f"says no more than {_listed(missed, 'or')}"
        return f"says more than {_listed([words for words, more in verdicts.items() if more], 'and')}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What several maps say together.

    Attributes:
        null: Key of `NULLS`.
        asked: Images that have this null.
        more: How many of their maps say more.
        mean: Of the map's score less the null's.
        low: Lower end of its 95 % interval (Student's t over images); NaN for fewer than 5 images.
        high: Upper end.
    """

    null: str
    asked: int
    more: int
    mean: float
    low: float
    high: float

    def in_words(self) -> str:
        """Return what may be believed of all the maps together."""
        count = f"{self.more} of {self.asked} maps say more than {NULLS[self.null]}"
        if np.isnan(self.low):
            return f"{count}; fewer than {FEWEST} images say nothing together"
        found = f"by {self.mean:.2f} on average (95 % interval {self.low:.2f} to {self.high:.2f})"
        if self.low <= 0:
            return f"{count}; together they say no more: {found}"
        if self.mean <= MARGIN:
            return f"{count}; together they say hardly more: {found}, where more than {MARGIN:g} counts"
        return f"{count}; together they say more: {found}"


def blobs(side: int) -> FloatArray:
    """Return Gaussians in the middle and a twelfth of the side above, below, left and right of it.

    What a map is that knows where cells are put, shape (5, side, side). A map that a nudge lets win against
    the first alone says nothing; the best of all is the null.
    """
    line = np.arange(side) - (side - 1) / 2
    step = side / 12
    places = ((0, 0), (-step, 0), (step, 0), (0, -step), (0, step))
    bell = [[np.exp(-0.5 * ((line - at) / (side / 4)) ** 2) for at in place] for place in places]
    return np.stack([np.outer(down, across) for down, across in bell])


def examine(
    network: Network,
    image: NDArray[np.uint8],
    heat: FloatArray,
    randomised: FloatArray,
    others: Sequence[FloatArray],
    target: int,
    *,
    rng: np.random.Generator,
) -> Trial:
    """Try one heatmap, shape (S, S), against every null; see `road` for what is asked and what it costs.

    Args:
        network: What to ask.
        image: Already cut to the input, shape (S, S, 3).
        heat: What the network's explanation is.
        randomised: The map of the network with random weights, of the same image and class.
        others: The network's maps of other images; may be none.
        target: The class explained.
        rng: See `road`.
    """
    from scipy.stats import rankdata

    middle = blobs(len(image))
    maps = np.stack([heat, randomised, *middle, *others])
    scores = road(network, image, maps, target, rng=rng)
    flat = np.ptp(heat) == 0 or np.ptp(randomised) == 0
    return Trial(
        score=float("nan") if np.ptp(heat) == 0 else float(scores[0]),
        blob=float(scores[2:][: len(middle)].max()),
        other=float(scores[2 + len(middle) :].mean()) if others else float("nan"),
        randomised=float(scores[1]),
        similarity=float("nan")
        if flat
        else float(np.corrcoef(rankdata(heat.ravel()), rankdata(randomised.ravel()))[0, 1]),
    )


def mean_trial(trials: Sequence[Trial]) -> Trial:
    """Return the mean of what each member of an ensemble scored; flat maps and missing nulls are left out."""
    columns = {name: [getattr(trial, name) for trial in trials] for name in asdict(trials[0])}
    return Trial(**{name: _mean(values) for name, values in columns.items()})


def claims(trials: Iterable[Trial]) -> list[Claim]:
    """Return what the maps say together, a null a claim; flat maps count as saying nothing."""
    from scipy.stats import t

    found = list(trials)
    made: list[Claim] = []
    for null in NULLS:
        asked = [trial for trial in found if trial.more_than(null) is not None]
        if not asked:
            continue
        gain = np.array([np.nan_to_num(trial.score) - max(getattr(trial, null), 0) for trial in asked])
        low = high = float("nan")
        if len(asked) >= FEWEST:
            half = float(t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain)))
            low, high = float(gain.mean()) - half, float(gain.mean()) + half
        more = sum(bool(trial.more_than(null)) for trial in asked)
        made.append(Claim(null, len(asked), more, float(gain.mean()), low, high))
    return made


def _listed(words: Sequence[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if not np.isnan(value)]
    return float(np.mean(there)) if there else float("nan")
