"""Labelled images in one file become a folder, once: a zip of class folders, or Parquet as on Hugging Face.

The folder lies in the cache under the digest of the file's content, so it is made again only for other
content, and `hemoscope data cache` lists and clears it. From then on it is read like any other folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemoscope.data.archive import unpack
from hemoscope.data.images.decode import IMAGE_SUFFIXES
from hemoscope.data.scan.csv_rows import csv_text
from hemoscope.data.scan.walk import Found, is_hidden
from hemoscope.errors import DataError
from hemoscope.files import lock_folder, new_folder, sha256_of, write_json
from hemoscope.places import cache_dir
from hemoscope.plain_files import check_plain
from hemoscope.records import SIDE_NAMES

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LABELS", "SOURCE", "is_packed", "parquet_in", "unpacked"]

LABELS, SOURCE = "labels.csv", "source.json"
MAX_IMAGES = 10_000_000
MAX_BYTES = 1 << 38
_IMAGES = ("image", "img", "picture")
_CLASSES = ("label", "labels", "class", "class_name", "cell_type")
_ROWS = 64  # images in hand
_SUFFIXES = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"II", ".tif"),
    (b"MM", ".tif"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
    (b"RIFF", ".webp"),
    (b"\0\0\0\x0cjP", ".jp2"),
)


def is_packed(path: Path) -> bool:
    """Whether a file is one that `unpacked` takes, by its name."""
    return path.suffix.lower() in {".zip", ".parquet"}


def parquet_in(root: Path, found: Found) -> list[Path]:
    """Return the Parquet files of a folder that holds no image, as a snapshot of a Hugging Face data set."""
    if found.files or found.loose:
        return []
    return [root / name for name in found.others if name.lower().endswith(".parquet")]


def unpacked(sources: Sequence[Path]) -> Path:
    """Return the folder, or the CSV of labels, that a zip or some Parquet files hold, unpacking them if need be.

    Args:
        sources: One zip, or Parquet files: `SIDE-….parquet`, or in folders of sides, where there are sides.

    Raises:
        DataError: If they are damaged, unsafe to unpack, or hold no labelled images.
        OSError: If the cache cannot be written.
    """
    for source in sources:
        check_plain(source)
    digests = [f"{sha256_of(source)} {_side_of(source)}".rstrip() for source in sources]
    name = hashlib.sha256("\n".join(digests).encode()).hexdigest()[:32]
    home = cache_dir() / "unpacked" / name
    with lock_folder(home, wait=True):
        if not (home / SOURCE).is_file():
            for left in (home / "data", *home.glob(".data.*")):  # of a kill
                shutil.rmtree(left, ignore_errors=True)
            if sources[0].suffix.lower() == ".zip":
                unpack(sources[0], home / "data")
            else:
                _write_parquet(sources, home)
            write_json(home / SOURCE, {"root": str(sources[0].absolute()), "sha256": digests})
        (home / SOURCE).touch()  # used now
    return _labelled(home / "data")


def _labelled(folder: Path) -> Path:
    """Return where the class folders lie, below folders with nothing beside them; or the one list."""
    while True:
        entries = [entry for entry in sorted(folder.iterdir()) if not is_hidden(entry.name)]
        folders = [entry for entry in entries if entry.is_dir()]
        files = [entry for entry in entries if not entry.is_dir()]
        lists = [file for file in files if file.suffix.lower() in {".csv", ".tsv"}]
        if len(lists) == 1 and (len(folders) < 2 or lists[0].name == LABELS):
            return lists[0]
        if len(folders) != 1 or lists or _has_images(files) or _has_images(folders[0].iterdir()):
            return folder  # one class is enough to score
        folder = folders[0]


def _has_images(entries: Iterable[Path]) -> bool:
    return any(
        entry.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(entry.name) and entry.is_file()
        for entry in entries
    )


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a Parquet file keeps its images and their classes."""

    image: str
    label: str
    names: Sequence[str] | None


def _write_parquet(sources: Sequence[Path], home: Path) -> None:
    sides = {source: _side_of(source) for source in sources}
    unknown = [str(source) for source, side in sides.items() if not side]
    if unknown and len(unknown) < len(sides):
        raise DataError(
            f"{', '.join(unknown[:3])}: expected a name that begins with the side, as train-00000-of-00001.parquet and "
            "the other files have one"
        )
    rows: list[tuple[str, str, str]] = []
    total = 0
    with new_folder(home / "data") as folder:
        (folder / "images").mkdir()
        for source in sources:
            for content, class_name in _images(source):
                path = f"images/{len(rows):07}{_suffix(content)}"
                total += len(content)
                if len(rows) == MAX_IMAGES or total > MAX_BYTES:
                    raise DataError(
                        f"{source} and its like hold more than {MAX_IMAGES:,} images or {MAX_BYTES >> 30} GiB"
                    )
                (folder / path).write_bytes(content)
                rows.append((path, class_name, sides[source]))
        width = 3 if len(set(sides.values())) > 1 else 2
        lines = [("path", "class", "split"), *rows]
        (folder / LABELS).write_bytes(csv_text([line[:width] for line in lines]))


def _side_of(source: Path) -> str:
    """Return the side that a file's name (`train-00000-of-00002.parquet`) or folder says; empty: none."""
    words = (source.stem.partition("-")[0], source.parent.name)
    return next((SIDE_NAMES[word.casefold()] for word in words if word.casefold() in SIDE_NAMES), "")


def _suffix(content: bytes) -> str:
    return next((suffix for magic, suffix in _SUFFIXES if content.startswith(magic)), ".img")


def _images(source: Path) -> Iterator[tuple[bytes, str]]:
    """Yield the bytes and the class of every image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            columns = _columns(source, file.schema_arrow)
            for batch in file.iter_batches(_ROWS, columns=[columns.image, columns.label]):
                for image, label in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield _content(source, image), _class(source, label, columns.names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source} cannot be read: {error}; get it again") from error


def _columns(source: Path, schema: pa.Schema) -> _Columns:
    import pyarrow as pa

    images = [
        field.name
        for field in schema
        if pa.types.is_binary(field.type)
        or pa.types.is_large_binary(field.type)
        or (pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    labels = [field.name for field in schema if field.name in _CLASSES]
    image = next((name for name in _IMAGES if name in images), images[0] if len(images) == 1 else None)
    if image is None or not labels:
        raise DataError(
            f"{source} has the columns {', '.join(schema.names)}; expected encoded images ({', '.join(_IMAGES)}) and "
            f"their classes ({', '.join(_CLASSES)})"
        )
    return _Columns(image, labels[0], _names(schema.metadata or {}, labels[0]))


def _names(metadata: Mapping[bytes, bytes], label: str) -> Sequence[str] | None:
    """Return the class names that Hugging Face's metadata give to the numbers of a column, if they do."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _content(source: Path, image: Any) -> bytes:
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes) or not content:
        raise DataError(f"{source} names an image and does not hold it; expected its encoded bytes")
    return content


def _class(source: Path, label: Any, names: Sequence[str] | None) -> str:
    if isinstance(label, str) and label.strip():
        return label
    if isinstance(label, int) and not isinstance(label, bool) and label >= 0:
        if names is None:
            return f"class_{label}"
        if label < len(names):
            return names[label]
    raise DataError(f"{source} has the label {label!r}; expected a name, or a number with a name")
