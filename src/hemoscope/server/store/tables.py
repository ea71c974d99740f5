"""The tables. Times are UTC texts in ISO form; what is only shown or handed on is JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "AuditRow",
    "Base",
    "CellRow",
    "EntryRow",
    "FileRow",
    "FolderRow",
    "ModelRow",
    "SessionRow",
    "SignatureRow",
    "SlideRow",
    "UploadRow",
    "UserRow",
]

DIGEST, TIME, NAME = String(64), String(40), String(200)
_LONG = BigInteger().with_variant(Integer, "sqlite")  # only an INTEGER counts up by itself there


class Base(DeclarativeBase):
    """All tables."""


class FolderRow(Base):
    """The data folder of the store's images, by its id; no row until a server has opened both."""

    __tablename__ = "folder"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)


class UserRow(Base):
    """A person who may sign in."""

    __tablename__ = "users"
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    role: Mapped[str] = mapped_column(String(20))
    password: Mapped[str] = mapped_column(String(300))
    created: Mapped[str] = mapped_column(TIME)


class SessionRow(Base):
    """A signed-in browser; the cookie's SHA-256, never the cookie."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    user: Mapped[str] = mapped_column(ForeignKey("users.name", ondelete="CASCADE"))
    used: Mapped[str] = mapped_column(TIME)


class ModelRow(Base):
    """What must be known of a model to count cells that it has judged, when it is no longer served."""

    __tablename__ = "models"
    digest: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)


class SlideRow(Base):
    """A slide: the cells of one smear."""

    __tablename__ = "slides"
    id: Mapped[int] = mapped_column(_LONG, primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(10), default="open")
    revision: Mapped[int] = mapped_column(default=1)
    seq: Mapped[int] = mapped_column(default=0)
    white_count: Mapped[float | None]
    readings: Mapped[int] = mapped_column(default=1)
    blind: Mapped[bool] = mapped_column(default=False)
    readers: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    model: Mapped[str] = mapped_column(ForeignKey("models.digest"))
    cells: Mapped[int] = mapped_column(default=0)
    nucleus_px: Mapped[float | None]
    reviewed: Mapped[int] = mapped_column(default=0)
    open: Mapped[int] = mapped_column(default=0)
    created: Mapped[str] = mapped_column(TIME)
    by: Mapped[str] = mapped_column(NAME)


class UploadRow(Base):
    """A file on its way: `open` until its last byte is on the disk, `whole` until unpacked, then `done`."""

    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    slide: Mapped[int] = mapped_column(ForeignKey("slides.id"), index=True)
    name: Mapped[str] = mapped_column(String(1000))
    bytes: Mapped[int] = mapped_column(_LONG)
    received: Mapped[int] = mapped_column(_LONG, default=0)
    status: Mapped[str] = mapped_column(String(10), default="open", index=True)
    created: Mapped[str] = mapped_column(TIME)


class FileRow(Base):
    """One image of an upload: `waiting` for the model, a `cell`, `rejected` with a reason, or the `twin` of one there is."""

    __tablename__ = "files"
    id: Mapped[int] = mapped_column(_LONG, primary_key=True)
    slide: Mapped[int] = mapped_column(ForeignKey("slides.id"))
    upload: Mapped[str] = mapped_column(ForeignKey("uploads.id"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(String(1000))
    digest: Mapped[str] = mapped_column(DIGEST)
    status: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(Text, default="")
    __table_args__ = (
        Index("files_once", "upload", "position", unique=True),
        Index("files_of_slide", "slide", "status"),
        Index("files_twins", "slide", "digest"),
        Index("files_waiting", "status", "id"),
    )


class CellRow(Base):
    """A cell and what the model says of it."""

    __tablename__ = "cells"
    slide: Mapped[int] = mapped_column(ForeignKey("slides.id"), primary_key=True)
    cell: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(DIGEST)
    name: Mapped[str] = mapped_column(String(1000))
    status: Mapped[str] = mapped_column(String(10))
    pred: Mapped[str] = mapped_column(String(200))
    judged: Mapped[dict[str, Any]] = mapped_column(JSON)
    features: Mapped[bytes] = mapped_column(LargeBinary)
    __table_args__ = (Index("cells_once", "slide", "digest", unique=True),)


class EntryRow(Base):
    """An entry of the command log; the log never shrinks."""

    __tablename__ = "entries"
    slide: Mapped[int] = mapped_column(ForeignKey("slides.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    entry: Mapped[dict[str, Any]] = mapped_column(JSON)


class SignatureRow(Base):
    """A signed revision with the report that was signed."""

    __tablename__ = "signatures"
    slide: Mapped[int] = mapped_column(ForeignKey("slides.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(NAME)
    at: Mapped[str] = mapped_column(TIME)
    reason: Mapped[str] = mapped_column(Text, default="")
    log_digest: Mapped[str] = mapped_column(DIGEST)
    signed: Mapped[dict[str, Any]] = mapped_column(JSON)


class AuditRow(Base):
    """Who did what when, beyond the command log."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(_LONG, primary_key=True)
    at: Mapped[str] = mapped_column(TIME)
    who: Mapped[str] = mapped_column(NAME)
    what: Mapped[str] = mapped_column(String(40))
    slide: Mapped[int | None] = mapped_column(_LONG, index=True)
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
