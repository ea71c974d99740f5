"""One file over HTTP into a `.part`, continued wherever it was cut: of data for pooch, and of weights.

A note beside the part says where its bytes came from (URL, ETag, length), so that bytes of two
different files are never spliced. This module never judges the content; digests are pooch's work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin

from hemoscope.errors import FetchError
from hemoscope.files import write_json
from hemoscope.progress import Progress

if TYPE_CHECKING:
    import requests

__all__ = ["Download", "TransferPolicy"]

_CHUNK = 1 << 16
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """How patient a transfer is.

    Attributes:
        tries: Requests made in all before giving up.
        backoff_s: Wait after the first failure; it doubles with each further one.
        longest_wait_s: No wait is longer, whatever the server asks for.
        connect_timeout_s: Time to reach the server.
        read_timeout_s: Silence after which a connection counts as cut.
    """

    tries: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 60.0
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0


class Download:
    """Callable as pooch asks for it: `download(url, output_file, pooch)`.

    Raises:
        FetchError: When the server refuses, every try was cut, or the disk is too small. What came
            stays in the part for the next call.
    """

    def __init__(self, part: Path, *, policy: TransferPolicy, progress: Progress | None = None) -> None:
        self._part = part
        self._note_path = part.with_name(f"{part.name}.json")
        self._policy = policy
        self._progress = progress

    def __call__(self, url: str, output_file: str | Path, pooch: object = None) -> None:  # noqa: ARG002, pooch passes it
        """Bring `url` to `output_file`."""
        import requests

        with requests.Session() as session:
            session.hooks["response"].append(_stay_encrypted)
            for attempt in range(1, self._policy.tries + 1):
                try:
                    self._go_on(session, url)
                    break
                except _CutError as cut:
                    if attempt == self._policy.tries:
                        raise FetchError(self._gave_up(url, cut)) from cut
                    backoff = self._policy.backoff_s * 2 ** (attempt - 1)
                    if self._progress:
                        have = self._part.stat().st_size if self._part.exists() else 0
                        self._progress(f"{self._part.stem} was interrupted, trying again", have, None)
                    time.sleep(min(max(backoff, cut.wait_s), self._policy.longest_wait_s))
        self._part.replace(output_file)
        self._note_path.unlink(missing_ok=True)

    def _go_on(self, session: requests.Session, url: str) -> None:
        import requests

        note = _read_note(self._note_path)
        have = self._part.stat().st_size if self._part.exists() else 0
        if note is None or note.url != url:
            note, have = _Note(url), 0
        if have and have == note.total:
            return
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if note.validator:
                headers["If-Range"] = note.validator
        timeout = (self._policy.connect_timeout_s, self._policy.read_timeout_s)
        try:
            with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
                self._take(response, note, have)
        except requests.exceptions.SSLError as error:
            raise FetchError(f"{url} has no certificate this system trusts: {error}") from error
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise _CutError(f"the connection failed ({error})") from error
        except requests.RequestException as error:
            raise FetchError(f"{url} cannot be asked for: {error}") from error

    def _take(self, response: requests.Response, note: _Note, have: int) -> None:
        """Judge an answer, then write its body where it belongs."""
        status = response.status_code
        first, total = _content_range(response)
        if status == 416 and have:
            if total == have:
                return
            self._discard("the server has no such range")
        if status in _PASSING:
            raise _CutError(f"the server answered {status} {response.reason}", _retry_after(response))
        if status not in {200, 206}:
            raise FetchError(f"{note.url} was refused: the server answered {status} {response.reason}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError(f"{note.url} came re-encoded although it was asked for as it is")
        came = _Note.of(note.url, response, total)
        if status == 206:
            if first != have or (have and not note.same_file(came)):
                self._discard("the file changed on the server")
        else:
            have = 0
        self._check_space(came, have)
        if have == 0:
            self._part.write_bytes(b"")  # before the note: old bytes never stand under a new note
            write_json(self._note_path, asdict(came))
        with self._part.open("ab", buffering=0) as file:
            self._receive(response, file, have, came.total)

    def _receive(self, response: requests.Response, file: IO[bytes], have: int, total: int | None) -> None:
        self._tell(have, total)
        for chunk in response.iter_content(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            self._tell(have, total)
        os.fsync(file.fileno())
        if total is not None and have < total:
            raise _CutError("the connection closed early")

    def _tell(self, have: int, total: int | None) -> None:
        if self._progress:
            self._progress(f"downloading {self._part.stem}", have, total or None)

    def _discard(self, why: str) -> None:
        self._part.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)
        raise _CutError(f"{why}; starting over")

    def _check_space(self, came: _Note, have: int) -> None:
        if came.total is None:
            return
        old = self._part.stat().st_size if self._part.exists() and not have else 0
        free = shutil.disk_usage(self._part.parent).free + old
        if came.total - have > free:
            raise FetchError(
                f"{came.url} takes {came.total - have:,} more bytes and {free:,} are free in "
                f"{self._part.parent}; make room or choose another folder"
            )

    def _gave_up(self, url: str, cut: _CutError) -> str:
        have = self._part.stat().st_size if self._part.exists() else 0
        note = _read_note(self._note_path)
        total = f"{note.total:,}" if note and note.total is not None else "an unknown number of"
        kept = (
            f" {have:,} of {total} bytes came and are kept: the same command goes on from there"
            if have
            else ""
        )
        tries = "one try" if self._policy.tries == 1 else f"{self._policy.tries} tries"
        return f"{url} could not be had in {tries}: {cut}.{kept}".rstrip()


def _stay_encrypted(response: requests.Response, **_: object) -> None:
    """Refuse to be sent from https to http, where anybody on the way may answer."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    if response.is_redirect and response.url.startswith("https:") and not target.startswith("https:"):
        raise FetchError(f"{response.url} sends on to {target}, which is not encrypted; that is not followed")


class _CutError(Exception):
    """A try failed in a way that a later one may not."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class _Note:
    """Which file the bytes of a part belong to."""

    url: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @classmethod
    def of(cls, url: str, response: requests.Response, range_total: int | None) -> _Note:
        length = response.headers.get("Content-Length", "")
        total = range_total if response.status_code == 206 else int(length) if length.isdecimal() else None
        return cls(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), total)

    @property
    def validator(self) -> str | None:
        """What If-Range may carry: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return None if self.etag else self.modified

    def same_file(self, other: _Note) -> bool:
        """Whether nothing that both answers tell is different."""
        pairs = (
            (self.etag, other.etag),
            (self.modified, other.modified),
            (self.total, other.total),
        )
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)


def _read_note(path: Path) -> _Note | None:
    try:
        fields: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return _Note(**fields)
    except (OSError, ValueError, TypeError):
        return None  # without a readable note nobody knows whose the bytes are


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """Return (first byte, length of the whole file) as an answer tells them."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    first, total = match.groups()
    return (int(first) if first else None), (None if total == "*" else int(total))


def _retry_after(response: requests.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
