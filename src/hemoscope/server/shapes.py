"""The bodies that the API takes and gives, for its OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hemoscope.review.commands import Command, Reading

__all__ = [
    "BeginUpload",
    "CommandBody",
    "NewSlide",
    "Refusal",
    "Revise",
    "SessionShape",
    "Sign",
    "SignIn",
    "SignatureShape",
    "SlideDetail",
    "SlideShape",
    "UploadShape",
]

Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Prose = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]


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


class BeginUpload(_Body):
    """A file that is coming."""

    name: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")
    bytes: int = Field(ge=0, lt=2**53)


class CommandBody(_Body):
    """A command of a reader."""

    base: int = Field(ge=0, lt=2**31)
    reading: Reading = 1
    command: Command
    client: str = Field(default="", max_length=100, pattern=r"^[ -~]*$")


class Sign(_Body):
    """A signature."""

    name: Line
    reason: Prose = ""


class Revise(_Body):
    """Why a signed slide is opened again."""

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


class SlideDetail(_Slide):
    """A slide with its progress, rejected files and signatures."""

    rejected: list[RejectedShape]
    seq: int
    readers: dict[str, str]
    white_count: float | None
    progress: ProgressShape
    signatures: list[SignatureShape]


class UploadShape(BaseModel):
    """How far an upload has come."""

    upload: str
    offset: int
    done: bool
