"""Every number of an adaptation in one frozen record. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hemoscope.errors import ConfigError, UnknownNameError
from hemoscope.training.recipe import Recipe, parse_value

__all__ = ["ADAPT", "CHECKED_BY", "LEARNT_BY", "RULES", "AdaptRecipe", "adapt_recipe"]

LEARNT_BY = (
    "epochs", "batch_size", "lr", "schedule", "warmup", "momentum", "weight_decay", "ema", "head_lr", "rotation_deg", "hflip", "vflip",
    "zoom", "stain_mix", "stain_gain", "grey", "frame_jitter", "blur", "noise", "jpeg",
)  # fmt: skip
"""Fields of a training recipe that an adaptation has, too."""

WITHOUT_LABELS = frozenset({"epochs", "learns", "memory", "norm_lr"})
WITH_LABELS = frozenset({"head_lr", "labelled_epochs", "labelled_lr", "labelled", "labelled_batch", "folds"})
RULES = (
    "least_cells", "most_sure", "least_seeds_agree", "least_kept", "least_information", "most_neighbours", "least_nuclei",
    "least_labelled", "most_lost",
)  # fmt: skip
"""Fields that say when an adaptation is to be trusted."""

CHECKED_BY = frozenset(
    {*RULES, "most_cells", "error_rate", "coverage", "unknown_share", "known_certainty", "share_draws"}
)
"""Fields that no fit follows from: whoever changes them need not learn anew."""


class AdaptRecipe(BaseModel):
    """How a bundle is adapted, and when that is to be trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Recipe = Field(
        default=Recipe(
            name="adapt",
            epochs=8,
            batch_size=32,
            lr=0.0025,
            schedule="cosine",
            weight_decay=1e-4,
            ema=0.9,
            head_lr=0.1,
            rotation_deg=180,
            zoom=0.15,
            stain_mix=0.1,
            stain_gain=0.15,
            grey=0.1,
            frame_jitter=0.2,
            blur=0.3,
            noise=0.02,
        ),
        description="epochs, rates, averaging and what is drawn in an epoch; head_lr counts with labels only",
    )

    bn: float = Field(
        default=1.0, ge=0, le=1, description="share of the new batch statistics in the first ones"
    )
    bn_rounds: int = Field(
        default=3, ge=1, description="times they are taken, each class weighed alike by the answers before"
    )
    bn_momentum: float = Field(default=0.05, ge=0, le=1, description="of the batch statistics while learning")
    prior: Literal["trained", "uniform"] = Field(
        default="trained",
        description="class shares that a network's probabilities are taken to assume: those of its training, or all alike; alike also "
        "where it was adapted before, or its classes were drawn or weighed alike",
    )
    learns: Literal["norm", "all"] = Field(
        default="norm",
        description="what learns without labels: scale and shift of the normalisation layers, where there are any, or all but the head",
    )
    norm_lr: float = Field(default=4.0, gt=0, description="times the rate, where these layers alone learn")
    turns: Literal[1, 4] = Field(default=4, description="quarter turns that pseudo-labels are averaged over")
    memory: float = Field(
        default=0.6,
        ge=0,
        lt=1,
        description="share of what a cell was taken for until now in what it is taken for after an epoch, without labels",
    )
    neighbours: int = Field(
        default=5,
        ge=0,
        description="cells nearest among features whose answers are averaged with a cell's own",
    )
    first: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="surest share of each class that is learnt from in the first epoch",
    )
    last: float = Field(default=0.6, gt=0, le=1, description="the same in the last epoch")
    least: int = Field(
        default=5, ge=1, description="cells of a class that are learnt from, where there are so many"
    )
    balance: float = Field(
        default=0.5, ge=0, le=1, description="0: a class is drawn as often as it was found; 1: as any other"
    )
    sure: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="mean probability of its ten surest cells from which on a class not expected in blood is taken to be there",
    )
    smoothing: float = Field(default=0.05, ge=0, lt=1, description="label smoothing of the pseudo-labels")
    labelled_epochs: int = Field(
        default=12, ge=1, description="in place of those of `training`, where there are labelled cells"
    )
    labelled_lr: float = Field(
        default=2.0, gt=0, description="times the rate, where there are labelled cells"
    )
    labelled: float = Field(default=1.0, ge=0, description="weight of the labelled cells' cross entropy")
    labelled_batch: int = Field(default=16, ge=2, description="labelled cells a step, classes equally often")
    folds: int = Field(
        default=3, ge=2, description="parts of the labelled cells, each answered by a network without it"
    )

    least_cells: int = Field(
        default=64, ge=1, description="fewer different cells are not adapted to without labels"
    )
    most_cells: int = Field(default=2048, ge=1, description="of more cells so many are drawn")

    most_sure: float = Field(
        default=0.85,
        ge=0,
        le=1,
        description="mean probability of the answers before, above which there is nothing to gain",
    )
    least_seeds_agree: float = Field(default=0.85, ge=0, le=1, description="of the answers of two seeds")
    least_kept: float = Field(default=0.5, ge=0, le=1, description="of the answers before that stay the same")
    least_information: float = Field(
        default=0.3, ge=0, description="mutual information of cells and answers, nats"
    )
    most_neighbours: float = Field(
        default=0.35,
        ge=0,
        le=1,
        description="of the other cells that look like a cell as a mean, above which there are no groups",
    )
    least_nuclei: float = Field(
        default=0.5, ge=0, le=1, description="share of cells in which a nucleus is found"
    )
    least_labelled: int = Field(
        default=20,
        ge=0,
        description="labelled cells, of two classes at least, that decide in place of other signals",
    )
    most_lost: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="of the balanced accuracy on labelled cells, answered without their labels",
    )

    error_rate: float = Field(
        default=0.01, gt=0, lt=1, description="wrong among the accepted that is aimed at"
    )
    coverage: float = Field(
        default=0.99, gt=0, lt=1, description="how often a set of classes is to hold the true one"
    )
    unknown_share: float = Field(
        default=0.01, gt=0, lt=1, description="of sure cells that may be called unknown"
    )
    known_certainty: float = Field(
        default=0.9, ge=0, le=1, description="least probability of a cell to remember"
    )
    share_draws: int = Field(
        default=200, ge=2, description="resamples behind the intervals of the class shares"
    )

    def with_labels(self) -> AdaptRecipe:
        """Return the recipe for cells some of which have labels: these keep learning from going astray."""
        faster = self._training(epochs=self.labelled_epochs, lr=self.training.lr * self.labelled_lr)
        return faster.model_copy(update={"memory": 0.0})

    def for_norm(self) -> AdaptRecipe:
        """Return the recipe for a network of which the normalisation alone learns."""
        return self._training(lr=self.training.lr * self.norm_lr)

    def _training(self, **changes: Any) -> AdaptRecipe:
        return self.model_copy(update={"training": self.training.model_copy(update=changes)})


ADAPT = AdaptRecipe()


def adapt_recipe(changes: Iterable[str] = (), *, with_labels: bool = False, **values: Any) -> AdaptRecipe:
    """Return the built-in recipe with changes, in its own fields and in those of training in `LEARNT_BY`.

    Args:
        changes: As texts `KEY=VALUE`, such as `epochs=6` or `least_seeds_agree=0.7`.
        with_labels: Whether it is for cells some of which have labels.
        values: The same as values.

    Raises:
        UnknownNameError: If there is no such field.
        ConfigError: With every value that does not hold, or that has no effect.
    """
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator:
            raise ConfigError(f"expected --set KEY=VALUE, got {change!r}; for example --set epochs=6")
        values = {**values, key: parse_value(text)}
    if with_labels and (unused := sorted({*values} & WITHOUT_LABELS)):
        raise ConfigError(
            f"{', '.join(unused)} are for cells without labels; with labelled ones everything learns, for `labelled_epochs`, at "
            "`labelled_lr` times the rate: --set labelled_epochs=6"
        )
    if not with_labels and (unused := sorted({*values} & WITH_LABELS)):
        raise ConfigError(f"{', '.join(unused)} are for labelled cells, and there are none: --labelled DIR")
    own = set(AdaptRecipe.model_fields) - {"training"}
    for key in values:
        if key not in own and key not in LEARNT_BY:
            raise UnknownNameError("field of an adaptation's recipe", key, sorted({*own, *LEARNT_BY}))
    fields = ADAPT.model_dump()
    fields["training"] |= {key: value for key, value in values.items() if key in LEARNT_BY}
    fields |= {key: value for key, value in values.items() if key in own}
    try:
        return AdaptRecipe.model_validate(fields)
    except ValidationError as error:
        lines = [
            f"{e['loc'][-1] if e['loc'] else ''}: {e['msg']}, got {e['input']!r}" for e in error.errors()
        ]
        raise ConfigError("this cannot be adapted by:\n  " + "\n  ".join(lines)) from None
