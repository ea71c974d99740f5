"""The card of a bundle: everything needed to give the same answer anywhere, as checked records.

The card is JSON of at most 4 MiB that a stranger may have written: what a verdict is computed from has bounds,
every list of records a size that is looked at before its items, and unknown fields are refused. What is only shown
(recipe, data, split, scores, measured figures) is taken as it is. It never holds code.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator

from hemoscope.data.images.framing import SQUARE, Framing, by_nucleus

__all__ = [
    "ADAPTED_FORMAT",
    "FORMAT",
    "MAX_CLASSES",
    "MAX_MEMBERS",
    "Adapted",
    "BundleCard",
    "Calibration",
    "MemberCard",
    "Preprocessing",
    "ShareRange",
]

FORMAT = 2  # the newest that is read; raised when an older hemoscope could no longer read what is written
ADAPTED_FORMAT = 2  # of adapted bundles; of the others it is 1
MAX_MEMBERS = 32
MAX_CLASSES = 1000
MAX_KEYS = 100  # of an object whose keys are checked


def _at_most(most: int) -> BeforeValidator:
    """Look at the size first: an error object for each of a million items takes gigabytes."""

    def check(value: Any) -> Any:
        if isinstance(value, (list, tuple, dict)) and len(value) > most:
            raise ValueError(f"holds {len(value):,} entries; expected at most {most:,}")
        return value

    return BeforeValidator(check)


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ClassName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Text = Annotated[str, Field(max_length=10_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**53)]  # exact as a float, too


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MAX_KEYS:
            raise ValueError(f"holds {len(value):,} fields; expected at most {MAX_KEYS}")
        return value


class Preprocessing(_Record):
    """From a decoded image to a network's input, to the pixel.

    The largest central square is resized to `canvas_px` (bilinear with antialiasing), warped to
    `image_px` by `view`, and normalised as (x / 255 - mean) / std. Where `nucleus_px` is stated, it is the whole image
    on white instead, zoomed so that a nucleus of that diameter, in pixels of the image, has the size it was trained with.
    """

    image_px: int = Field(ge=32, le=1024)
    canvas_px: int = Field(ge=32, le=2048)
    view: Literal["center_crop", "full_image"]
    fill: Literal["black", "edge", "white"]
    mean: Annotated[tuple[float, float, float], _at_most(3)]
    std: Annotated[tuple[float, float, float], _at_most(3)]
    nucleus_px: Annotated[float, Field(ge=1, le=10_000)] | None = None

    @property
    def framing(self) -> Framing:
        """How an image becomes the square."""
        if self.nucleus_px is None:
            return SQUARE
        return by_nucleus(self.nucleus_px, image_px=self.image_px, canvas_px=self.canvas_px)

    def zoomed(self, zoom: float) -> Preprocessing:
        """Return the same of images with nuclei so many times as large; where it frames none, as it is."""
        if self.nucleus_px is None:
            return self
        return self.model_copy(update={"nucleus_px": self.nucleus_px * zoom})

    @model_validator(mode="after")
    def _crop_fits(self) -> Preprocessing:
        if self.canvas_px < self.image_px:
            raise ValueError(f"canvas_px {self.canvas_px} is smaller than image_px {self.image_px}")
        return self


class MemberCard(_Record):
    """One network of the bundle.

    Attributes:
        instance_norm: Share of each image's own statistics in its batch normalisation (`models.instance_norm`).
    """

    run: str = Field(max_length=200)
    arch: str = Field(max_length=100)
    head: Literal["replace_last", "single_layer"]
    preprocessing: Preprocessing
    recipe: dict[str, Any]
    seed: Count
    digest: Digest
    parameters: Count
    pretrained: dict[str, Any]
    instance_norm: Share = 0.0


class Calibration(_Record):
    """What validation images taught about how far to trust an answer; chosen there, measured on test.

    `verdict.decide` says what the thresholds mean.

    Attributes:
        n_val: Validation images.
        temperature: Divides the logarithms of the mean probabilities.
        review_below: Answers with a lower probability are for a person; None: all of them.
        error_rate: Wrong among the accepted that `review_below` was chosen for, at 95 % confidence.
        conformal_score: A class is in the set while 1 - probability is at most this.
        coverage: What `conformal_score` was chosen for.
        conformal_by_class: A class's own threshold in place of `conformal_score`, length C; None: all have that one.
        unknown_above: Images further than this from the nearest known cell are unknown; None: not measured.
        unknown_share: Share of validation images that `unknown_above` was chosen to call unknown.
        confusion: Counts[true, predicted] of the validation images not called unknown, shape (C, C).
        measured: Figures of the test images, by name.
    """

    n_val: Count = Field(ge=1)
    temperature: float = Field(ge=0.001, le=100)
    review_below: Share | None
    error_rate: Share
    conformal_score: Share
    coverage: Share
    unknown_above: Annotated[float, Field(ge=-1, le=3)] | None
    unknown_share: Share
    confusion: Annotated[
        tuple[Annotated[tuple[Count, ...], FailFast(), _at_most(MAX_CLASSES)], ...],
        FailFast(),
        _at_most(MAX_CLASSES),
    ]
    measured: dict[str, Any]
    conformal_by_class: Annotated[tuple[Share, ...] | None, _at_most(MAX_CLASSES)] = None

    @property
    def usually_unknown(self) -> tuple[int, int] | None:
        """How many of how many cells like those it knows it calls unknown: as measured, or else as aimed at; None: never any."""
        if self.unknown_above is None:
            return None
        measured = self.measured.get("called_unknown") or {}
        if measured.get("of"):
            return int(measured["count"]), int(measured["of"])
        return round(self.unknown_share * self.n_val), self.n_val


class ShareRange(_Record):
    """A class share, and the 95 % interval of counting so few cells."""

    share: Share
    low: Share
    high: Share


class Adapted(_Record):
    """Where an adapted bundle comes from, and what is known of it.

    Attributes:
        parent: Digest of the bundle before.
        parent_name: Its name.
        cells: SHA-256 over content and class of every cell, in no order of files.
        n_cells: Different cells without a label.
        labelled: Labelled cells, a class.
        nucleus_px: Diameter of the typical nucleus of these cells; None where no network frames nuclei.
        nucleus_px_before: The one of the bundle before.
        shares: Estimated class shares of the cells without a label; empty where there is none.
        seed: Of everything drawn.
        recipe: How it was adapted.
        signals: What told that it is to be trusted, by name.
        by_labels: Whether labelled cells have set the thresholds; else they are an estimate.
        known: What is known of it and what is not, in sentences.
    """

    parent: Digest
    parent_name: str = Field(max_length=200)
    cells: Digest
    n_cells: Count
    labelled: Annotated[dict[str, Count], _at_most(MAX_CLASSES)]
    nucleus_px: Annotated[float, Field(ge=1, le=10_000)] | None
    nucleus_px_before: Annotated[float, Field(ge=1, le=10_000)] | None
    shares: Annotated[dict[str, ShareRange], _at_most(MAX_CLASSES)]
    seed: Count
    recipe: dict[str, Any]
    signals: Annotated[dict[str, int | float | None], _at_most(MAX_KEYS)]
    by_labels: bool
    known: Annotated[tuple[Text, ...], FailFast(), _at_most(MAX_KEYS)]


class BundleCard(_Record):
    """bundle.json.

    Attributes:
        adapted: From which bundle and to which cells it was adapted; None: it comes from its runs.
        calibration: Of answers to images as they are.
        tta: Of answers averaged over flips and turns, which need thresholds of their own; None: not measured.
        by_half: Whether one half of the validation images chose the members and the other the thresholds.
    """

    format: Literal[1, 2] = 1
    name: str = Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.+-]+$")
    classes: Annotated[tuple[ClassName, ...], FailFast(), _at_most(MAX_CLASSES)] = Field(min_length=2)
    members: Annotated[tuple[MemberCard, ...], FailFast(), _at_most(MAX_MEMBERS)] = Field(min_length=1)
    vote: Literal["majority", "soft"]
    chosen: Text
    data: dict[str, Any]
    split: dict[str, Any]
    scores: dict[str, Any]
    calibration: Calibration
    tta: Calibration | None = None
    intended_use: Text
    limits: Annotated[tuple[Text, ...], FailFast(), _at_most(MAX_KEYS)]
    versions: Annotated[dict[str, str], _at_most(MAX_KEYS)]
    created: str = Field(max_length=50)
    by_half: bool = False
    adapted: Adapted | None = None

    @property
    def nucleus_px(self) -> float | None:
        """Diameter of the nuclei that members frame cells by, in pixels of the images; None where none does."""
        found = (member.preprocessing.nucleus_px for member in self.members)
        return next((px for px in found if px is not None), None)

    def at_nucleus(self, nucleus_px: float | None) -> BundleCard:
        """Return the card of the same bundle at a camera that shows nuclei of this diameter, in pixels of its images.

        The sides of images that it knows are then as this camera would have taken them. For None, and where no member
        frames nuclei, it is as it was.
        """
        home, sides = self.nucleus_px, self.short_sides_px
        if home is None or nucleus_px is None:
            return self
        zoom = nucleus_px / home
        members = [
            member.model_copy(update={"preprocessing": member.preprocessing.zoomed(zoom)})
            for member in self.members
        ]
        data = dict(self.data)
        if sides:
            data["short_sides_px"] = [max(1, round(side * zoom)) for side in sides]
        return self.model_copy(update={"members": tuple(members), "data": data})

    @property
    def short_sides_px(self) -> tuple[int, int] | None:
        """The shorter sides, smallest and largest, of the images of its runs; None where nobody wrote them down."""
        sides = self.data.get("short_sides_px")
        if (
            not isinstance(sides, (list, tuple))
            or len(sides) != 2
            or any(type(side) is not int for side in sides)
        ):
            return None
        return (sides[0], sides[1]) if 0 < sides[0] <= sides[1] else None

    @property
    def converted(self) -> frozenset[str]:
        """How images of its runs had to be converted, as `Manifest.converted`; empty where nobody wrote it down."""
        reasons = self.data.get("converted")
        return frozenset(map(str, reasons)) if isinstance(reasons, dict) else frozenset()

    @model_validator(mode="after")
    def _holds_together(self) -> BundleCard:
        c = len(self.classes)
        if len(set(self.classes)) != c:
            raise ValueError("two classes have one name")
        if (self.adapted is not None) != (self.format == ADAPTED_FORMAT):
            raise ValueError(f"format {ADAPTED_FORMAT} is that of adapted bundles, and of no others")
        for trust in (self.calibration, self.tta):
            if trust and (len(trust.confusion) != c or any(len(row) != c for row in trust.confusion)):
                raise ValueError(f"the confusion matrix is not {c} x {c}")
            if trust and trust.conformal_by_class is not None and len(trust.conformal_by_class) != c:
                raise ValueError(f"there are not {c} thresholds of the sets, one a class")
        return self
