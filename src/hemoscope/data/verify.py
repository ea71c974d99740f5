"""Whether a data set is what its source says: the file by its digest, a folder by its images.

This module only reads, and decodes no image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hemoscope.data.catalog import DataSource
from hemoscope.data.images.decode import IMAGE_SUFFIXES
from hemoscope.errors import DataError, FetchError
from hemoscope.files import sha256_of

__all__ = ["check_digest", "check_images", "class_root", "content_digest", "images_of", "is_here"]


def is_here(place: Path, source: DataSource) -> bool:
    """Whether the data set is in its place.

    Raises:
        FetchError: If something else is.
    """
    if not place.exists():
        return False
    if source.form == "npz":
        check_digest(place, source)
        return True
    try:
        check_images(place, source)
    except DataError as error:
        raise FetchError(f"{error}. Move {place} away, then run the same command again") from error
    return True


def check_digest(path: Path, source: DataSource) -> None:
    """Compare a file with the published digest, where there is one.

    Raises:
        FetchError: If it is another file.
    """
    import pooch

    if source.digest is None:
        return
    algorithm, _, expected = source.digest.partition(":")
    if not path.is_file():
        raise FetchError(
            f"{path} is no file; expected {source.title}. Move it away, then run the command again"
        )
    came = pooch.file_hash(str(path), alg=algorithm)
    if came != expected.lower():
        raise FetchError(
            f"{path} has {algorithm.upper()} {came}; expected {expected} ({source.page}). It is damaged or "
            "another file: move it away, then run the same command again"
        )


def check_images(folder: Path, source: DataSource) -> None:
    """Compare the images in every class folder with the source, by number and, where it is known, content.

    Raises:
        DataError: If any class has more or fewer, or there are others; all are named. If the numbers are
            right and an image is not.
    """
    expected = dict(source.counts)
    images = images_of(folder) if folder.is_dir() else {}
    came = {name: len(files) for name, files in images.items()}
    wrong = [
        f"{name}: {came.get(name, 0):,} instead of {expected.get(name, 0):,}"
        for name in sorted(expected.keys() | came.keys())
        if came.get(name, 0) != expected.get(name, 0)
    ]
    if wrong:
        raise DataError(
            f"{folder.name} holds {sum(came.values()):,} images; expected {source.n_images:,} ({'; '.join(wrong)})"
        )
    if source.content is not None and (content := content_digest(images)) != source.content:
        raise DataError(
            f"{folder.name} holds as many images as it should, and not the published ones: their digest is "
            f"{content}, expected {source.content}; at least one is damaged, renamed or another"
        )


def content_digest(images: Mapping[str, Sequence[Path]]) -> str:
    """Return the SHA-256 of what `sha256sum` prints of images by class, ordered by CLASS/NAME."""
    whole = hashlib.sha256()
    for name, path in sorted((f"{c}/{path.name}", path) for c, paths in images.items() for path in paths):
        whole.update(f"{sha256_of(path)}  {name}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def class_root(unpacked: Path, source: DataSource) -> Path:
    """Return the one folder that holds all class folders, however deep it lies.

    Raises:
        DataError: If there is none, or more than one.
    """
    wanted = set(source.classes)
    folders = [Path(at) for at, below, _ in os.walk(unpacked) if wanted.issubset(below)]
    if len(folders) != 1:
        top = sorted(p.name for p in unpacked.iterdir())
        raise DataError(
            f"the archive has {len(folders)} folders that hold {', '.join(source.classes)}; expected one. "
            f"At its top: {', '.join(top[:10])}"
        )
    return folders[0]


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def images_of(folder: Path) -> dict[str, list[Path]]:
    """Return the plain files in every class folder that have an image's name; none is opened."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not _hidden(p))
    return {
        c.name: [
            p for p in c.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not _hidden(p) and p.is_file()
        ]
        for c in classes
    }
