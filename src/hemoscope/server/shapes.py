"""The bodies that the API takes and gives, for its OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from hemoscope.differential.reference import Role
from hemoscope.review.bias import Followed
from hemoscope.review.cells import Cell
from hemoscope.review.commands import Change, Command, Entry, Reading
from hemoscope.review.count import ReviewedDifferential
from hemoscope.review.readers import Agreement
from hemoscope.review.signing import Signature
from hemoscope.server.described import shape_of

__all__ = [
    "AgreementShape",
    "BeginUpload",
    "CellsShape",
    "CommandBody",
    "CountShape",
    "DoneShape",
    "LogShape",
    "ModelShape",
    "NeighboursShape",
    "NewSlide",
    "OrderShape",
    "Refusal",
    "Revise",
    "SessionShape",
    "Sign",
    "SignIn",
    "SignatureShape",
    "SignedShape",
    "SlideDetail",
    "SlideShape",
    "StateShape",
    "TrailShape",
    "UploadShape",
]

Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Prose = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]
Revision = Annotated[int, Field(ge=1, lt=2**31, description="The revision of the slide that was seen.")]
Seq = Annotated[int, Field(ge=0, lt=2**31, description="The last entry of its log that was seen; 0: none.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SignIn(_Body):
    """Who wants to sign in."""

    name: Line
    password: str = Field(max_length=1000)


class NewSlide(_Body):
    """A slide to begin."""

    title: Line = Field(min_length=1)
    white_count: float | None = Field(default=None, gt=0, le=10_000)
    readings: Literal[1, 2] = 1
    blind: bool = False
    once: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{32}$",
        description="Drawn at random by the client: the same request sent again, as after an answer that was lost, then finds the slide that "
        "it began.",
    )


class BeginUpload(_Body):
    """A file that is coming."""

    name: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")
    bytes: int = Field(ge=0, lt=2**53)
    upload: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{32}$",
        description="Its name, drawn at random by the client: the same request sent again, as after an answer that was lost, then begins nothing anew.",
    )


class CommandBody(_Body):
    """A command of a reader."""

    revision: Revision
    base: Seq
    reading: Reading = 1
    command: Command
    client: str = Field(default="", max_length=100, pattern=r"^[ -~]*$")
    answered: Seq | None = Field(
        default=None,
        description="The last entry of this client whose answer came, 0 before the first, where the client waits for each: a command sent "
        "again, as after an answer that was lost, is then done once.",
    )


class Sign(_Body):
    """A signature, and what its person has seen of the slide: it is refused where there is more."""

    name: Line
    reason: Prose = ""
    revision: Revision
    base: Seq
    cells: int = Field(ge=0, lt=2**31, description="How many cells of the slide have been seen.")
    without_files: bool = Field(
        default=False, description="Whether files that were begun and have not come whole are given up."
    )


class Revise(_Body):
    """Why a signed revision of a slide is opened again."""

    revision: Revision
    reason: Prose = Field(min_length=1)


class SessionShape(BaseModel):
    """Who is here."""

    user: str | None
    role: Literal["reader", "administrator"] | None
    csrf: str
    sign_in: bool


class _Error(BaseModel):
    code: str
    message: str


class Refusal(BaseModel):
    """What was expected, what came, what to do; more keys may stand beside it."""

    model_config = ConfigDict(extra="allow")

    error: _Error


class _Slide(BaseModel):
    id: int
    title: str
    status: Literal["open", "signed"]
    revision: int
    readings: int
    blind: bool
    cells: int
    waiting: int
    reviewed: int
    open: int
    created: str
    by: str
    model: str
    nucleus_px: float | None


class SlideShape(_Slide):
    """A slide as lists show it."""

    rejected: int


class RejectedShape(BaseModel):
    """A file that became no cell."""

    name: str
    reason: str


class ProgressShape(BaseModel):
    """How far a slide's files have come."""

    received: int
    predicted: int
    rejected: int
    total: int


class SignatureShape(BaseModel):
    """That a person stands for a revision."""

    revision: int
    name: str
    at: str
    reason: str
    log: str


class ModelClassShape(BaseModel):
    """A class of a model."""

    name: str
    label: str
    role: Role
    percent: tuple[float, float] | None
    key: str


class SlideDetail(_Slide):
    """A slide with its progress, rejected files and signatures."""

    classes: list[ModelClassShape] = Field(
        description="Of the model that read the slide, in the order of `probs`."
    )
    rejected: list[RejectedShape]
    seq: int
    readers: dict[str, str]
    white_count: float | None
    progress: ProgressShape
    signatures: list[SignatureShape]
    complete: bool = Field(description="Where two read: both have finished, and see the model's answers.")


class UploadShape(BaseModel):
    """How far an upload has come."""

    upload: str
    offset: int
    done: bool = Field(
        description="It takes no more bytes: it is whole, or, short of its end, it was given up."
    )


class ReferenceShape(BaseModel):
    """The table of ranges."""

    name: str
    source: str


class ModelShape(BaseModel):
    """The model that is served."""

    name: str
    digest: str
    networks: list[str]
    tta: bool
    n_val: int
    coverage: float | None
    error_rate: float | None
    review_below: float | None
    unknown_above: float | None
    classes: list[ModelClassShape]
    reference: ReferenceShape
    research_use_only: bool
    demo: bool


class StateShape(BaseModel):
    """Where the cells of a reading lie, by their numbers."""

    revision: int
    seq: int
    places: dict[str, str]
    reviewed: list[int]
    notes: dict[str, str]
    white_count: float | None
    can_undo: bool
    can_redo: bool
    readers: dict[str, str]


class LogShape(BaseModel):
    """Entries of a log."""

    entries: list[Entry]


CountShape = shape_of(ReviewedDifferential)
CellShape = shape_of(Cell)
SignedShape = create_model("Signed", __base__=shape_of(Signature), user=(str, ...))


class DoneShape(BaseModel):
    """What became of a command."""

    seq: int
    entry: Entry
    changes: list[Change]
    differential: CountShape  # type: ignore[valid-type]


class CellsShape(BaseModel):
    """Cells as the model judged them."""

    cells: list[CellShape]  # type: ignore[valid-type]


class OrderShape(BaseModel):
    """Numbers of cells in the order of the wall."""

    cells: list[int]


class NeighbourShape(BaseModel):
    """A reference cell."""

    digest: str
    distance: float
    source: str


class NeighboursShape(BaseModel):
    """The nearest reference cells of each class that the cell may be."""

    by_class: dict[str, list[NeighbourShape]]


class AuditShape(BaseModel):
    """Cells that are read again blindly, and how many were."""

    cells: list[int]
    read: int


class AgreementShape(BaseModel):
    """How far readers have come and agree; where one person reads there are no `cells`, `read` and `complete`."""

    readings: int
    blind: bool
    readers: dict[str, str]
    audit: AuditShape
    bias: dict[str, shape_of(Followed)]  # type: ignore[valid-type]
    agreement: shape_of(Agreement) | None  # type: ignore[valid-type]
    cells: list[int] = []
    read: dict[str, int] = {}
    complete: bool = True


class TrailLine(BaseModel):
    """Who did what when; more keys may stand beside it."""

    model_config = ConfigDict(extra="allow")

    id: int
    at: str
    who: str
    what: str
    slide: int | None


class TrailShape(BaseModel):
    """The audit trail."""

    audit: list[TrailLine]
