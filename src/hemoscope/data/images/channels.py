"""Three pages of a TIFF that are the red, green and blue of one image, as ImageJ and OME write composites."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from hemoscope.data.images.tiff import Page
from hemoscope.errors import ImageError

__all__ = ["are_channels"]

_RAMPS = (b"".join(bytes(range(256)) if k == c else bytes(256) for k in range(3)) for c in range(3))
_RED_GREEN_BLUE = tuple(_RAMPS)  # ImageJ's look-up tables of a composite


def are_channels(pages: Sequence[Page], first: int) -> bool:
    """Whether an image lies in three pages from `first` on: red, green and blue.

    Raises:
        ImageError: If the pages are channels that do not make an RGB image by what they say.
    """
    page = pages[first]
    text = page.raw(270).decode("utf-8", "replace")
    described = _described_channels(text) if page.number(277, 1) == 1 else (1, 1)
    if described is None or described[0] < 2:
        return False
    channels, planes = described
    group = pages[first : first + 3]
    same = all(p.size == page.size and p.number(277, 1) == 1 and p.numbers(258) == (8,) for p in group)
    same = same and all(p.number(262) == 1 for p in group)
    if not (channels == planes == 3 == len(pages) - first and same and _is_rgb(text, page)):
        raise ImageError(
            f"a TIFF of {channels} channels in {len(pages) - first} page(s); only three pages of 8-bit red, green "
            "and blue are read. Save it as RGB"
        )
    return True


def _described_channels(text: str) -> tuple[int, int] | None:
    """Return channels, and planes in all, by an image's description; None where it says nothing of them."""
    if text.startswith("ImageJ="):
        said = {key: int(value) for key, value in re.findall(r"^(images|channels)=(\d{1,9})$", text, re.M)}
        return (said["channels"], said.get("images", 1)) if "channels" in said else None
    if "<OME" not in text[:4096] and "openmicroscopy.org" not in text[:4096]:
        return None
    said = {key: int(value) for key, value in re.findall(r'\bSize([CZT])="(\d{1,9})"', text)}
    return (said["C"], said["C"] * said.get("Z", 1) * said.get("T", 1)) if "C" in said else None


def _is_rgb(text: str, page: Page) -> bool:
    """Whether the channels' colours, as far as they are given, are red, green and blue."""
    if text.startswith("ImageJ="):
        if "mode=grayscale" in text:
            return False
        tables = _imagej_tables(page)
        return not tables or tables == _RED_GREEN_BLUE
    colours = [int(value) & 0xFFFFFFFF for value in re.findall(r'\bColor="(-?\d{1,10})"', text)]
    return not colours or [colour >> 8 for colour in colours] == [0xFF0000, 0x00FF00, 0x0000FF]


def _imagej_tables(page: Page) -> tuple[bytes, ...]:
    """Return the channels' look-up tables in ImageJ's private tags 50838 and 50839; none where it has none.

    Source:
        ij.io.TiffEncoder: the header's kinds and numbers, then the pieces; a table is 768 bytes.
    """
    sizes, data = page.numbers(50838), page.raw(50839)
    order = "<" if data[:4] == b"JIJI" else ">"
    if not sizes or len(data) < sizes[0]:
        return ()
    at, k = sizes[0], 1
    for head in range(4, sizes[0] - 7, 8):
        kind, number = struct.unpack_from(f"{order}II", data, head)
        pieces = []
        for size in sizes[k : k + number]:
            pieces.append(data[at : at + size])
            at += size
        k += number
        if kind == int.from_bytes(b"luts", "big"):
            return tuple(pieces)
    return ()
