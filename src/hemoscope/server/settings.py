"""Where the server keeps things, whom it listens to, and how much it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Capacity", "Settings", "is_loopback"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much is taken before a client is refused.

    Attributes:
        upload_bytes: Of one upload, an image or an archive.
        slide_files: Files of one slide.
        unpacked_bytes: Of one archive, unpacked.
        waiting_files: That wait for the model, of all slides; beyond it an upload is answered with 429.
        open_uploads: Begun and not finished, of all slides.
        body_bytes: Of a request that is no upload.
        free_bytes: That stay free on the disk.
        asked: Heatmaps and neighbours that wait for the model.
        streams: Open event streams.
        failures: Wrong passwords for one name or from one address within `failure_s`.
        failure_s: Seconds after which a wrong password is forgotten.
        session_s: Seconds after which a session that is not used ends.
    """

    upload_bytes: int = 1 << 30
    slide_files: int = 20_000
    unpacked_bytes: int = 4 << 30
    waiting_files: int = 20_000
    open_uploads: int = 20_000
    body_bytes: int = 1 << 20
    free_bytes: int = 64 << 20
    asked: int = 16
    streams: int = 256
    failures: int = 5
    failure_s: int = 300
    session_s: int = 12 * 3600


@dataclass(frozen=True, slots=True)
class Settings:
    """What `hemoscope serve` was told.

    Attributes:
        data: Folder of images, unfinished uploads and, by default, the SQLite store.
        host: Address to listen at.
        port: Port to listen at; 0 for a free one.
        store: URL of the store; empty for SQLite in `data`.
        demo: Whether cells and model are drawn and made for show.
        tta: Whether answers are averaged over eight flips and turns.
        gallery: Folder of class folders of reference cells.
        capacity: What is refused.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    store: str = ""
    demo: bool = False
    tta: bool = False
    gallery: Path | None = None
    capacity: Capacity = field(default_factory=Capacity)

    @property
    def store_url(self) -> str:
        """URL of the store."""
        return self.store or f"sqlite:///{(self.data / 'review.sqlite').as_posix()}"

    @property
    def local(self) -> bool:
        """Whether only programs on this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
