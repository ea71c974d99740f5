"""The cells that persons have put into classes, as an archive of class folders that `hemoscope train` takes as it is."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import BinaryIO

from hemoscope.encoding import is_folder_name
from hemoscope.errors import DataError
from hemoscope.review.exports.report import Report

__all__ = ["write_labelled"]

THEN = (1980, 1, 1, 0, 0, 0)  # the same cells give the same bytes
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def write_labelled(out: BinaryIO, report: Report, picture: Callable[[str], bytes]) -> int:
    """Write a zip of class folders; only cells that a person has confirmed or moved into a class are in it.

    Two cells of the same picture that lie in one class are one file.

    Args:
        out: Open for writing in binary.
        report: The slide.
        picture: Gives the bytes of the file with a digest.

    Returns:
        Files written.

    Raises:
        DataError: If no cell has been reviewed, or a class has a name that can be no folder's.
    """
    classes = set(report.state.classes)
    names = dict.fromkeys(
        (f"{held.place}/{cell.digest}{_suffix(cell.name)}", cell.digest)
        for cell in report.cells
        if (held := report.state.held[cell.cell]).reviewed and held.place in classes
    )
    if not names:
        raise DataError("no cell of this slide was confirmed or moved into a class; expected at least one")
    if odd := sorted(name for name in classes if not is_folder_name(name)):
        raise DataError(
            f"the classes {', '.join(map(repr, odd))} can be no folders: expected names without / and \\ that are not . "
            "or ..; take the cells home as a table, or train the model with other names"
        )
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, digest in names:
            archive.writestr(zipfile.ZipInfo(name, THEN), picture(digest))
    return len(names)


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in SUFFIXES else ".png"  # what a file is, its content says
