"""What `hemoscope stress --out` wrote, for a page: what damage costs, and what the background tests say.

The folder may be anybody's: its document is checked, its pictures are taken for what their bytes say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hemoscope.errors import DataError
from hemoscope.plain_files import read_plain, why
from hemoscope.report.formats import count, percent
from hemoscope.report.page import data_uri
from hemoscope.report.texttable import Raw, TextTable, plain

__all__ = ["Broken", "damage_table", "read_broken"]

DOCUMENT = "stress.json"
SHEET, CURVES = "corruptions.jpg", "errors.png"
_MOST = 2**24  # bytes of a file
_MAGIC = {SHEET: (b"\xff\xd8\xff", "image/jpeg"), CURVES: (b"\x89PNG\r\n\x1a\n", "image/png")}

Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(max_length=2000)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Clean(_Record):
    errors: Annotated[int, Field(ge=0)]
    accuracy: Share


class _Corruption(_Record):
    name: Text
    error: Annotated[tuple[Share, ...], Field(min_length=1, max_length=10)]
    mean_error: Share


class Network(_Record):
    """One network, or a vote."""

    name: Text
    clean: _Clean
    mean_error: Share
    corruptions: Annotated[tuple[_Corruption, ...], Field(min_length=1, max_length=100)]
    recognises_background: bool
    says: Annotated[tuple[Text, ...], Field(max_length=20)]


class Document(_Record):
    """The parts of `stress.json` that a report shows."""

    n: Annotated[int, Field(ge=1)]
    side: Text | None
    networks: Annotated[tuple[Network, ...], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, slots=True)
class Broken:
    """What a report shows of it.

    Attributes:
        n: Images asked about.
        side: Of which side of the split; None for all.
        network: The one that is told: the headline's if it is there.
        sheet: What every corruption looks like, as a data URI.
        curves: Errors against severity, as a data URI.
    """

    n: int
    side: str | None
    network: Network
    sheet: str
    curves: str


def read_broken(folder: Path, headline: Sequence[str], known: Sequence[str]) -> Broken:
    """Read a folder of `hemoscope stress --out`.

    Args:
        folder: Where it is.
        headline: Names of the run, or of the runs that vote, to tell of.
        known: Names of all runs of the report; the first that is there, where the headline is not.

    Raises:
        DataError: If it is no such folder, damaged, or of other networks than these.
    """
    try:
        found = Document.model_validate_json(read_plain(folder / DOCUMENT, most=_MOST))
        pictures = {name: read_plain(folder / name, most=_MOST) for name in _MAGIC}
    except OSError as error:
        raise DataError(
            f"{folder} is not what hemoscope stress --out writes: {error.filename or DOCUMENT}: {why(error)}"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise DataError(
            f"{folder / DOCUMENT} is not what hemoscope stress --out writes: {place}: {first['msg']}"
        ) from error
    by_name = {network.name: network for network in found.networks}
    judged = headline[0] if len(headline) == 1 else f"ensemble of {len(headline)}"
    wanted = [judged] if all(name in by_name for name in headline) else []
    name = next((name for name in (*wanted, *known) if name in by_name), None)
    if name is None:
        raise DataError(
            f"{folder} is about {', '.join(list(by_name)[:3])}, and none of that is in this report; give the folder of "
            "hemoscope stress RUNS --out for the same runs"
        )
    for file, (magic, _) in _MAGIC.items():
        if not pictures[file].startswith(magic):
            raise DataError(f"{folder / file} is damaged, or no picture of hemoscope stress")
    uris = {file: data_uri(_MAGIC[file][1], content) for file, content in pictures.items()}
    return Broken(found.n, found.side, by_name[name], uris[SHEET], uris[CURVES])


def damage_table(broken: Broken | None) -> TextTable:
    """Return a row a corruption, the worst first: errors in percent at every severity."""
    rows, raw, severities = [], [], 0
    if broken:
        ordered = sorted(broken.network.corruptions, key=lambda c: -c.mean_error)
        severities = max(len(one.error) for one in ordered)
        for one in ordered:
            rows.append((one.name, *(percent(e, 1) for e in one.error), percent(one.mean_error, 1)))
            raw.append((broken.network.name, one.name, *one.error, one.mean_error))
    numbers = tuple(str(i + 1) for i in range(severities))
    told = (
        f"{broken.network.name}: wrong answers in percent to {count(broken.n)} images under each kind of damage at severities "
        f"1 to {severities}, the worst first; clean {percent(1 - broken.network.clean.accuracy, 1)} %."
        if broken
        else ""
    )
    return TextTable(
        name="damage",
        caption=told,
        head=("Damage", *numbers, "Mean"),
        groups=plain(rows),
        raw=Raw(("network", "corruption", *(f"severity_{i}" for i in numbers), "mean"), tuple(raw)),
    )
