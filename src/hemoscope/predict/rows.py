"""Verdicts as rows of CSV, JSON lines or Parquet, written in parts, so that a killed run goes on.

cells.csv.parts/       while it lasts
  plan.json            which model, with what options
  part-00000.stamps    what each image of a part was: its size and time, or a digest
  part-00000.csv ...   whole parts only, each after its stamps
cells.csv              appears when all is done
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from hemoscope.encoding import to_text
from hemoscope.errors import ConfigError, DataError
from hemoscope.files import atomic_path, followed, lock_folder, refuse_existing, write_json, write_text
from hemoscope.plain_files import read_plain, why
from hemoscope.predict.inputs import Named, stamp_of
from hemoscope.predict.model import Model, Verdict
from hemoscope.predict.tables import JOIN, READ, WRITE, Format, csv_cell

__all__ = ["Tally", "clear_parts", "columns_of", "is_begun", "predict_rows", "predict_to", "write_csv"]

PART_ROWS = 4096
PLAN, STAMPS = "plan.json", ".stamps"
MOST_PLAN_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Tally:
    """How many images came to which end."""

    accepted: int = 0
    review: int = 0
    unknown: int = 0
    error: int = 0

    def plus(self, statuses: Iterable[str]) -> Tally:
        """Return the tally with more images counted."""
        counts = {name: getattr(self, name) for name in self.__slots__}
        for status in statuses:
            counts[status] += 1
        return Tally(**counts)

    @property
    def n(self) -> int:
        """All of them."""
        return self.accepted + self.review + self.unknown + self.error


def predict_rows(
    model: Model, images: Iterable[Named], *, tta: bool = False, batch_size: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row an image.

    Its columns are path, pred, prob_<class>, margin, status, error, reason, candidates, distance, share and
    converted. What is not known is None, never NaN, which is no JSON.
    """
    names: list[str] = []

    def sources() -> Iterator[Any]:
        for name, source in images:
            names.append(name)
            yield source

    for verdict in model.judge(sources(), tta=tta, batch_size=batch_size):
        yield _row(names.pop(0), verdict, model)


def predict_to(
    out: Path,
    model: Model,
    images: Iterable[Named],
    *,
    tta: bool = False,
    batch_size: int | None = None,
    part_rows: int = PART_ROWS,
    keep_parts: bool = False,
    overwrite: bool = False,
) -> Tally:
    """Write the rows of all images to a file, none for no images; done again after it was killed, it goes on.

    Args:
        out: Where to: .csv, .jsonl or .parquet.
        model: What to ask.
        images: Names and sources; the same ones in the same order when it goes on.
        tta: Average over flips and quarter turns.
        batch_size: Images at once; by default what the device takes.
        part_rows: Rows to be lost at most by a kill; Ctrl-C loses none that are answered.
        keep_parts: Keep what lets the same call go on even when the file is whole, until `clear_parts`.
        overwrite: Replace what is at `out`, once the new file is whole.

    Raises:
        ConfigError: If the file name says no format, or the bundle was not calibrated for `tta`.
        DataError: If `out` is there already, or what was begun is damaged or belongs to another model or images.
    """
    form = _format(out)
    model.trust(tta=tta)
    folder = _parts_of(out)
    if not (keep_parts and is_begun(out)):
        refuse_existing(out, overwrite=overwrite)
    with lock_folder(folder):
        _remove(
            file for own in ("part-", "plan.", "whole.") for file in folder.glob(f".{own}*.part")
        )  # of a kill
        plan = {"model": model.digest, "tta": tta, "rows": part_rows, "columns": columns_of(model)}
        if model.frames_nuclei:
            plan["nucleus_px"] = model.nucleus_px
        _check_plan(folder, plan)
        source = _Stamped(images)
        tally = Tally()
        done = 0
        while (part := _part(folder, done, form)).is_file():
            tally = _pass_over(part, form, source, tally, out)
            done += 1
        rows = predict_rows(model, source, tta=tta, batch_size=batch_size)
        for chunk in _chunks(rows, part_rows):
            part = _part(folder, done, form)
            write_text(part.with_suffix(STAMPS), "\n".join(source.stamps.popleft() for _ in chunk))
            with atomic_path(part) as path:
                WRITE[form](path, chunk)
            tally = tally.plus(row["status"] for row in chunk)
            done += 1
        if done:
            whole = folder / f"whole{form}"
            with atomic_path(whole) as path:
                JOIN[form](path, [_part(folder, i, form) for i in range(done)], columns_of(model))
            if not keep_parts:
                refuse_existing(out, overwrite=overwrite)  # once more: hours may have passed
            whole.replace(followed(out))
    if not (keep_parts and done):
        clear_parts(out)
    return tally


def _chunks(rows: Iterator[dict[str, Any]], n: int) -> Iterator[list[dict[str, Any]]]:
    """Yield n rows at once, fewer at the end, also where that is Ctrl-C: most smears have less than a part."""
    chunk: list[dict[str, Any]] = []
    try:
        for row in rows:
            chunk.append(row)
            if len(chunk) == n:
                yield chunk
                chunk = []
    except KeyboardInterrupt:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def is_begun(out: Path) -> bool:
    """Whether the same call can go on with a file."""
    return (_parts_of(out) / PLAN).is_file()


def clear_parts(out: Path) -> None:
    """Delete what `predict_to` kept beside a file, and nothing that is not its own."""
    folder = _parts_of(out)
    _remove(
        file
        for pattern in (f"part-{'[0-9]' * 5}.*", "whole.*", PLAN, ".lock")
        for file in folder.glob(pattern)
    )
    with suppress(OSError):  # somebody else's file is in it
        folder.rmdir()


def write_csv(file: Any, model: Model, rows: Iterable[Mapping[str, Any]]) -> Tally:
    """Write rows as CSV to an open text file as they come."""
    writer = csv.DictWriter(file, columns_of(model), lineterminator="\n")
    writer.writeheader()
    tally = Tally()
    for row in rows:
        writer.writerow({k: csv_cell(v) for k, v in row.items()})
        tally = tally.plus([row["status"]])
    return tally


def _row(name: str, verdict: Verdict, model: Model) -> dict[str, Any]:
    probs = [None] * len(model.classes_) if verdict.probs is None else verdict.probs.tolist()
    read = verdict.probs is not None
    return {
        "path": to_text(name),
        "pred": verdict.pred,
        **{f"prob_{c}": p for c, p in zip(model.card.classes, probs, strict=True)},
        "margin": verdict.margin if read else None,
        "status": verdict.status,
        "error": "" if read else verdict.reason,
        "reason": verdict.reason if read else "",
        "candidates": "|".join(verdict.candidates),
        "distance": verdict.distance if isfinite(verdict.distance) else None,
        "share": _share(verdict, model),
        "converted": "|".join(verdict.converted),
    }


def _share(verdict: Verdict, model: Model) -> float | None:
    """Return the share of the members that voted for the class."""
    if verdict.shares is None:
        return None
    return float(verdict.shares[model.card.classes.index(verdict.pred)])


def columns_of(model: Model) -> list[str]:
    """Return the columns of every row that a model gives."""
    return list(_row("", Verdict("error"), model))


def _format(out: Path) -> Format:
    suffix = out.suffix.lower()
    if suffix not in WRITE:
        raise ConfigError(f"expected a file name that ends in {', '.join(WRITE)}; got {out.name!r}")
    return suffix  # type: ignore[return-value]


def _part(folder: Path, i: int, form: Format) -> Path:
    return folder / f"part-{i:05d}{form}"


def _parts_of(out: Path) -> Path:
    out = followed(out)  # else they are on another disk than the file
    return out.with_name(f"{out.name}.parts")


def _remove(files: Iterable[Path]) -> None:
    for file in list(files):
        file.unlink(missing_ok=True)


def _check_plan(folder: Path, plan: dict[str, Any]) -> None:
    file = folder / PLAN
    if not file.is_file():
        write_json(file, plan)
        return
    try:
        begun = json.loads(read_plain(file, most=MOST_PLAN_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {why(error)}; delete {folder} to begin anew") from error
    if begun != plan:
        raise DataError(f"{folder} was begun with another model or other options; delete it to begin anew")


class _Stamped:
    """Images as they pass, and a stamp of each: what makes a later one the same."""

    def __init__(self, images: Iterable[Named]) -> None:
        self._images = iter(images)
        self.stamps: deque[str] = deque()

    def __iter__(self) -> Iterator[Named]:
        return self

    def __next__(self) -> Named:
        name, source = next(self._images)
        self.stamps.append(stamp_of(source))
        return name, source


def _pass_over(part: Path, form: Format, source: _Stamped, tally: Tally, out: Path) -> Tally:
    """Check that a finished part is of the images that come next, and count it."""
    anew = f"Delete {part.parent} to begin {out} anew"
    try:
        rows = list(READ[form](part))
        stamps = part.with_suffix(STAMPS).read_text("utf-8").split("\n")
        if len(stamps) != len(rows):
            raise ValueError(f"{len(rows)} rows, {len(stamps)} stamps")  # noqa: TRY301  told with its siblings
        tally = tally.plus([status for _, status in rows])
    except Exception as error:  # what the readers of three formats raise on damage
        raise DataError(f"{part} is damaged: {error}. {anew}") from error
    for (path, _), stamp in zip(rows, stamps, strict=True):
        name = to_text(next(source, ("", b""))[0])
        if name != path:
            raise DataError(
                f"{part} was made of other images: it has {path!r} where {name or 'nothing'!r} comes now. {anew}"
            )
        if source.stamps.popleft() != stamp:
            raise DataError(f"{path} has changed since {part} was made. {anew}")
    return tally
