"""Whether a data set is what its card says, by digest or by the images a class.

This module only reads, and opens no image.
"""

from __future__ import annotations

import os
from pathlib import Path

from hemoscope.data.catalog import DataCard
from hemoscope.data.decode import IMAGE_SUFFIXES
from hemoscope.errors import DataError, FetchError

__all__ = ["check_counts", "check_digest", "class_root", "count_images", "is_here"]


def is_here(place: Path, card: DataCard) -> bool:
    """Whether the data set is in its place.

    Raises:
        FetchError: If something else is.
    """
    if not place.exists():
        return False
    if card.form == "npz":
        check_digest(place, card)
        return True
    try:
        check_counts(place, card)
    except DataError as error:
        raise FetchError(f"{error}. Move {place} away, then run the same command again") from error
    return True


def check_digest(path: Path, card: DataCard) -> None:
    """Compare a file with the published digest, where there is one.

    Raises:
        FetchError: If it is another file.
    """
    import pooch

    if card.digest is None:
        return
    algorithm, _, expected = card.digest.partition(":")
    if not path.is_file():
        raise FetchError(
            f"{path} is no file; expected {card.title}. Move it away, then run the command again"
        )
    came = pooch.file_hash(str(path), alg=algorithm)
    if came != expected.lower():
        raise FetchError(
            f"{path} has {algorithm.upper()} {came}; expected {expected} ({card.page}). It is damaged or "
            "another file: move it away, then run the same command again"
        )


def check_counts(folder: Path, card: DataCard) -> None:
    """Compare the images in every class folder with the card.

    Raises:
        DataError: If any class has more or fewer, or there are others; all are named.
    """
    expected = dict(card.counts)
    came = count_images(folder) if folder.is_dir() else {}
    wrong = [
        f"{name}: {came.get(name, 0):,} instead of {expected.get(name, 0):,}"
        for name in sorted(expected.keys() | came.keys())
        if came.get(name, 0) != expected.get(name, 0)
    ]
    if wrong:
        raise DataError(
            f"{folder.name} holds {sum(came.values()):,} images; expected {card.n_images:,} ({'; '.join(wrong)})"
        )


def class_root(unpacked: Path, card: DataCard) -> Path:
    """Return the one folder that holds all class folders, however deep it lies.

    Raises:
        DataError: If there is none, or more than one.
    """
    wanted = set(card.classes)
    folders = [Path(at) for at, below, _ in os.walk(unpacked) if wanted.issubset(below)]
    if len(folders) != 1:
        top = sorted(p.name for p in unpacked.iterdir())
        raise DataError(
            f"the archive has {len(folders)} folders that hold {', '.join(card.classes)}; expected one. "
            f"At its top: {', '.join(top[:10])}"
        )
    return folders[0]


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def count_images(folder: Path) -> dict[str, int]:
    """Return how many files in every class folder have an image's name; none is opened."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not _hidden(p))
    return {
        c.name: sum(p.suffix.lower() in IMAGE_SUFFIXES and not _hidden(p) for p in c.iterdir())
        for c in classes
    }
