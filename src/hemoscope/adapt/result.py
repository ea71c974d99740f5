"""What learning has led to, before anything is written: networks, their answers, and those of the fits that check them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemoscope.adapt.answers import Voted, voted
from hemoscope.adapt.assumed import lean_of, loses_lean
from hemoscope.adapt.cells import Cells
from hemoscope.adapt.look import Looked
from hemoscope.adapt.plan import Fit
from hemoscope.adapt.recipe import AdaptRecipe
from hemoscope.adapt.shares import estimate_shares, share_intervals
from hemoscope.bundle.card import ShareRange
from hemoscope.bundle.file import Bundle
from hemoscope.data.canvas import Canvas
from hemoscope.predict.network import Network
from hemoscope.records import FloatArray, IntArray

__all__ = ["Learned", "Result"]


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """One fit of every member.

    Attributes:
        fit: What it learnt from.
        networks: After it, length K; none of a fit that only checks another.
        looked: What each of them makes of all cells, length K.
    """

    fit: Fit
    networks: tuple[Network, ...]
    looked: tuple[Looked, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """All that is known when learning is done.

    Attributes:
        bundle: The model before.
        cells: What it was adapted to, N cells.
        recipe: How.
        seed: Of everything drawn.
        prior: Class shares that probabilities are taken to assume, shape (C,).
        canvases: The cells as each network's squares.
        kept: The fit that becomes the bundle.
        others: Those that check it.
    """

    bundle: Bundle
    cells: Cells
    recipe: AdaptRecipe
    seed: int
    prior: FloatArray
    canvases: tuple[Canvas, ...]
    kept: Learned
    others: tuple[Learned, ...]

    def answers(self, *, tta: bool = False) -> Voted:
        """Return the vote of the networks that are kept, on all cells."""
        return voted(self.kept.looked, self.bundle.card.vote, tta=tta)

    def others_said(self, *, tta: bool = False) -> list[IntArray]:
        """Return what each of the other fits predicts of all cells."""
        return [voted(one.looked, self.bundle.card.vote, tta=tta).pred for one in self.others]

    def crossed(self, *, tta: bool = False) -> Voted | None:
        """Return the answers to all cells, a labelled one's by the fit that did not learn its label; None without labels."""
        if not len(self.cells.labelled):
            return None
        said = self.answers(tta=tta)
        pred, probs = said.pred.copy(), said.probs.copy()
        for one in self.others:
            rows = one.fit.answers
            crossed = voted(one.looked, self.bundle.card.vote, tta=tta)
            pred[rows], probs[rows] = crossed.pred[rows], crossed.probs[rows]
        return Voted(pred, probs)

    def sure(self) -> NDArray[np.bool_]:
        """Return which cells are known ones without much doubt: labelled, or certain and contradicted by no other fit."""
        said = self.answers()
        certain = said.certainty >= self.recipe.known_certainty
        agreed = np.all([other == said.pred for other in self.others_said()], axis=0)
        return (self.cells.target >= 0) | (certain & agreed)

    def taken_for(self) -> IntArray:
        """Return the class of every cell: its label where it has one, else the prediction."""
        return np.where(self.cells.target >= 0, self.cells.target, self.answers().pred)

    @property
    def leant(self) -> bool:
        """Whether answers of the model before leant to what is common in blood, and do no more."""
        return any(
            lean_of(self.bundle.card, k, network) is not None and loses_lean(network)
            for k, network in enumerate(self.kept.networks)
        )

    @property
    def shares(self) -> dict[str, float]:
        """Estimated class shares of the cells without a label, by class; empty where there is none."""
        return {name: one.share for name, one in self.share_ranges(draws=0).items()}

    def share_ranges(self, *, draws: int) -> dict[str, ShareRange]:
        """Return the estimated class shares with their intervals, from so many resamples; without any, from 0 to 1."""
        rows = self.cells.unlabelled
        if not len(rows):
            return {}
        probs = self.answers().probs[rows]
        found = estimate_shares(probs, self.prior, pseudo_count=0).shares
        low, high = np.zeros_like(found), np.ones_like(found)
        if draws:
            low, high = share_intervals(probs, self.prior, draws=draws, seed=self.seed)
        return {
            name: ShareRange(share=share, low=min(a, share), high=max(b, share))
            for name, share, a, b in zip(
                self.bundle.card.classes, found.tolist(), low.tolist(), high.tolist(), strict=True
            )
        }
