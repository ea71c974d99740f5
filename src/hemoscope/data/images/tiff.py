"""What a TIFF says of itself, where Pillow alone would give other pixels than its writer meant.

A TIFF can hold many pages, one of them reduced, or one for each colour; samples of any width, in planes
or not; and codecs Pillow does not have. The first pages are read here before Pillow opens the file. No more
than `_MOST_PAGES` of them are ever looked at.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from PIL import Image, TiffImagePlugin

from hemoscope.errors import ImageError

__all__ = ["Page", "gray_range", "is_tiff", "main_page", "mend", "tiff_pages"]

_MOST_PAGES = 8
_MOST_TAGS = 1000
_MOST_SAMPLES = 8  # a pixel
_MOST_PIECES = 200_000  # strips or tiles; Pillow takes 10 s for a million
_MAX_TEXT = 1 << 20
_ASKED = frozenset({254, 255, 256, 257, 258, 259, 262, 270, 277, 278, 284, 322, 323, 339, 530, 50838, 50839})
_UNIT = MappingProxyType(  # bytes of one value, by type
    dict.fromkeys((1, 2, 6, 7), 1)
    | dict.fromkeys((3, 8), 2)
    | dict.fromkeys((4, 9, 11, 13), 4)
    | dict.fromkeys((5, 10, 12, 16, 17, 18), 8)
)
_WHOLE = MappingProxyType({1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"})
_CODECS = MappingProxyType(
    {
        1: "no",
        5: "LZW",
        6: "old JPEG",
        7: "JPEG",
        8: "deflate",
        32773: "PackBits",
        32946: "deflate",
        34925: "LZMA",
        50000: "Zstandard",
        22610: "JPEG XR",
        33003: "JPEG 2000",
        33005: "JPEG 2000",
        34712: "JPEG 2000",
        34887: "LERC",
        34934: "JPEG XR",
        50001: "WebP",
        50002: "JPEG XL",
        52546: "JPEG XL",
    }
)
_READ_CODECS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34925, 50000})
_SAMPLES = MappingProxyType({1: "unsigned", 2: "signed", 3: "floating-point", 4: "unsigned"})


@dataclass(frozen=True, slots=True)
class Page:
    """One directory of a TIFF.

    Attributes:
        values: Whole numbers or bytes by tag, of the tags in `_ASKED`.
        counts: How many values a tag has.
    """

    values: Mapping[int, tuple[int, ...] | bytes]
    counts: Mapping[int, int]

    def number(self, tag: int, default: int = 0) -> int:
        """Return the first number of a tag."""
        value = self.values.get(tag)
        return value[0] if isinstance(value, tuple) and value else default

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return the numbers of a tag, at most 16."""
        value = self.values.get(tag, ())
        return value if isinstance(value, tuple) else ()

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a tag."""
        value = self.values.get(tag, b"")
        return value if isinstance(value, bytes) else bytes(n & 255 for n in value)

    @property
    def is_reduced(self) -> bool:
        """Whether it is a smaller version of another page, or a mask: NewSubfileType, SubfileType."""
        return bool(self.number(254) & 0b101) or self.number(255) == 2

    @property
    def kind(self) -> str:
        """Its samples and codec in words, for a message."""
        bits, code = self.numbers(258) or (1,), self.number(259, 1)
        sample = _SAMPLES.get(self.number(339, 1), "complex")
        return (
            f"{self.number(277, 1)} {sample} samples of {'/'.join(map(str, sorted(set(bits))))} bits, "
            f"photometric {self.number(262)}, {_CODECS.get(code, f'codec {code}')} compression"
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.number(256), self.number(257)


def is_tiff(data: bytes) -> bool:
    """Tell a TIFF or BigTIFF by its first four bytes."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_pages(data: bytes) -> tuple[Page, ...]:
    """Return the first pages of a TIFF, at most `_MOST_PAGES`.

    Raises:
        ImageError: If a directory is cut short or claims more than the file holds.
    """
    order = "<" if data[:1] == b"I" else ">"
    big = 43 in data[2:4]
    pages: list[Page] = []
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        while at and at not in seen and len(pages) < _MOST_PAGES:
            seen.add(at)
            page, at = _directory(data, at, order, big=big)
            pages.append(page)
    except (struct.error, OverflowError):
        if not pages:
            raise ImageError("truncated: the TIFF's directory lies behind the end of the file") from None
    if not pages:
        raise ImageError("damaged: a TIFF without a page")
    samples = max(page.number(277, 1) for page in pages)
    if samples > _MOST_SAMPLES:
        raise ImageError(f"a TIFF of {samples} samples a pixel; expected 3, or at most {_MOST_SAMPLES}")
    return tuple(pages)


def _directory(data: bytes, at: int, order: str, *, big: bool) -> tuple[Page, int]:
    (n_tags,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    if n_tags > _MOST_TAGS:
        raise ImageError(f"a TIFF page of {n_tags:,} tags; expected at most {_MOST_TAGS:,}")
    at += 8 if big else 2
    head, offset, inline = (order + "HHQ", order + "Q", 8) if big else (order + "HHI", order + "I", 4)
    values: dict[int, tuple[int, ...] | bytes] = {}
    counts: dict[int, int] = {}
    claimed = 0
    for _ in range(n_tags):
        tag, kind, count = struct.unpack_from(head, data, at)
        where = at + struct.calcsize(head)
        size = count * _UNIT.get(kind, 0)
        if size > inline:
            claimed += size
            (where,) = struct.unpack_from(offset, data, where)
        counts.setdefault(tag, count)
        if tag in _ASKED and kind in _WHOLE and where < len(data):
            take = min(count, 16, (len(data) - where) // _UNIT[kind])
            values.setdefault(tag, struct.unpack_from(f"{order}{take}{_WHOLE[kind]}", data, where))
        elif tag in _ASKED and kind in (2, 7):
            values.setdefault(tag, data[where : where + min(size, _MAX_TEXT)])
        at += struct.calcsize(head) + inline
    if claimed > len(data):
        raise ImageError("damaged: the TIFF's tags claim more bytes than the file has")
    (following,) = struct.unpack_from(offset, data, at)
    return Page(values, counts), following


def main_page(pages: Sequence[Page]) -> tuple[int, tuple[str, ...]]:
    """Return which page holds the image, and what that took: `thumbnail-skipped`, `first-frame`.

    Raises:
        ImageError: If all pages are reduced ones, or Pillow cannot read this kind of page.
    """
    first = next((k for k, page in enumerate(pages) if not page.is_reduced), None)
    if first is None:
        if len(pages) > 1 or 330 in pages[0].counts:
            raise ImageError("a TIFF of reduced pages only; save the full image as a page of its own")
        first = 0
    _refuse(pages[first])
    reasons: tuple[str, ...] = ("thumbnail-skipped",) if first else ()
    if any(not page.is_reduced for page in pages[first + 1 :]):
        reasons = (*reasons, "first-frame")
    return first, reasons


def _refuse(page: Page) -> None:
    """Raise what is wrong with a page that Pillow would not read, or read wrongly."""
    codec, photometric = page.number(259, 1), page.number(262)
    if codec not in _READ_CODECS:
        name = _CODECS.get(codec, f"codec {codec}")
        raise ImageError(f"a TIFF in {name} compression, which is not read; save it in LZW or without")
    bits, sample = page.numbers(258) or (1,), page.number(339, 1)
    if sample not in (1, 4) and (sample != 2 or max(bits) <= 8):
        kind = _SAMPLES.get(sample, "complex")
        raise ImageError(
            f"a TIFF of {kind} samples of {max(bits)} bits, which have no agreed meaning in 8-bit RGB; convert it first"
        )
    subsampled = page.numbers(530) or (2, 2)
    if photometric == 6 and codec == 1 and (subsampled != (1, 1) or page.number(284, 1) == 2):
        raise ImageError("a TIFF of uncompressed YCbCr with subsampled colours; convert it to RGB first")
    _check_pieces(page)


def _check_pieces(page: Page) -> None:
    """Raise if there are fewer strips or tiles than the page is large; Pillow would leave black what is missing."""
    width, height = page.size
    planes = page.number(277, 1) if page.number(284, 1) == 2 else 1
    if 324 in page.counts and 273 not in page.counts:
        across, down = page.number(322), page.number(323)
        if across < 1 or down < 1:
            raise ImageError("damaged: a TIFF of tiles without a size")
        wanted, found = -(-width // across) * -(-height // down), page.counts[324]
    else:
        wanted, found = -(-height // max(1, page.number(278, height))), page.counts.get(273, 0)
    if found > _MOST_PIECES:
        raise ImageError(f"a TIFF of {found:,} strips or tiles; expected at most {_MOST_PIECES:,}")
    if found < wanted * planes:
        raise ImageError(f"truncated: a TIFF of {found} strips or tiles; expected {wanted * planes}")


def mend(image: Image.Image) -> None:
    """Set right what Pillow is about to unpack wrongly; before the pixels are loaded.

    Planes of 16 bits without compression are unpacked as bytes; and a palette is taken as 16 bits deep even
    where its writer used 8, which shows by no value above 255 (libtiff's `checkcmap`).

    Raises:
        ImageError: For planes of 16 bits that are not red, green, blue and alpha.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    _hush_libtiff()
    tags = image.tag_v2
    if tags.get(284, 1) == 2 and max(tags.get(258, (1,))) == 16 and image.tile:
        order = "L" if tags.prefix == b"II" else "B"
        image.tile = [_sixteen_bits(tile, order) for tile in image.tile]
    table = tags.get(320)
    if image.mode in ("P", "PA") and table and image.palette and max(table) <= 0xFF:
        image.palette.palette = bytes(table)


@cache
def _hush_libtiff() -> None:
    """Keep libtiff from writing to the terminal; what it says becomes an error of Pillow's anyway.

    Pillow silences its warnings and leaves its errors. Where libtiff is not to be found in Pillow's own
    library, as on Windows, nothing changes.
    """
    try:
        library = ctypes.CDLL(Image.core.__file__)
        library.TIFFSetErrorHandler.argtypes = [ctypes.c_void_p]
        library.TIFFSetErrorHandler.restype = ctypes.c_void_p
        library.TIFFSetErrorHandler(None)
    except (OSError, AttributeError, TypeError):
        return


def _sixteen_bits(tile: TiffImagePlugin.ImageFile._Tile, order: str) -> TiffImagePlugin.ImageFile._Tile:
    if tile.codec_name != "raw":
        return tile
    if not isinstance(tile.args, tuple) or tile.args[0] not in ("R", "G", "B", "A"):
        raise ImageError("a TIFF of 16-bit planes that are not RGB; convert it to RGB first")
    return tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))


def gray_range(image: Image.Image) -> tuple[int, int]:
    """Return black and white of grey of more than 8 bits, as Pillow unpacks it.

    Pillow turns round what has white as zero for 8 bits and less, but not for 16, and leaves 12 bits as they are.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0, 0xFFFF
    full = 0xFFF if image.tag_v2.get(258) == (12,) else 0xFFFF
    return (full, 0) if image.tag_v2.get(262, 0) == 0 else (0, full)
