"""What is looked at in a file's bytes before Pillow gets them, and what they are where it takes none of them.

Checksums Pillow passes over, scans that cost more than any picture is worth, and depths it unpacks wrongly.
Nothing here decodes a pixel.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from types import MappingProxyType

from hemoscope.errors import ImageError

__all__ = ["check_jpeg", "check_jpeg2000", "check_ppm", "clean_png", "name_of_kind"]

MAX_SCANS = 100
"""Scans of one JPEG. Encoders write 1 or about 10; one of 394 kB with 300 of them took 21 s."""

_MAX_MARKERS = 10_000
_MAX_GAP = 65_536  # bytes between two segments of a JPEG; Pillow takes 1 s for a million
_MAX_CHUNKS = 200_000
_MAX_PPM_HEADER = 8192
_MAX_PLAIN = 4 << 20  # of numbers written in digits; Pillow reads 2 MB of them a second
_MAX_TEXT = 1 << 20  # as Pillow's MAX_TEXT_CHUNK
_PNG = b"\x89PNG\r\n\x1a\n"
_FOR_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_ORIENTED = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")
_KINDS = MappingProxyType(
    {
        b"version https://git-lfs": "a Git LFS pointer, not the image itself (fetch it: git lfs pull)",
        b"8BPS": "a Photoshop document",
        b"%PDF": "a PDF document",
        b"PK\3\4": "a zip archive",
        b"\x1f\x8b": "a gzip archive",
        b"ZISRAWFILE": "a Zeiss CZI file",
        b"\xff\x0a": "a JPEG XL image",
        b"\0\0\0\x0cJXL ": "a JPEG XL image",
        b"II\xbc": "a JPEG XR image",
        b"\xff\xd8\xff\xf7": "a JPEG-LS image",
        b"\x76\x2f\x31\x01": "an OpenEXR image",
        b"\x89HDF": "an HDF5 file",
        b"\x93NUMPY": "a NumPy array",
        b"\xda\xce\xbe\x0a": "a Nikon ND2 file",
    }
)
_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def name_of_kind(data: bytes) -> str | None:
    """Return what a file is that is none of the formats read here; None if it is not known either."""
    for magic, name in _KINDS.items():
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp" and data[8:12] in _AVIF | _HEIC:
        return "an AVIF image" if data[8:12] in _AVIF else "a HEIC image"
    if data[128:132] == b"DICM":
        return "a DICOM file"
    text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, perhaps of a download that failed"
    return "an SVG drawing" if b"<svg" in text else None


def clean_png(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return a PNG with nothing but its pixels, their transparency, profile and orientation.

    Texts are no reason to refuse an image: Pillow does, where one is larger than 1 MiB.

    Returns:
        The file, and `first-frame` where it is animated, `icc` where its profile was too large to keep.

    Raises:
        ImageError: If a chunk's checksum is wrong, a critical chunk is unknown, or the end is missing.
    """
    parts = [_PNG]
    flags: dict[str, None] = {}
    texts = 0
    for name, whole, body in _png_chunks(data):
        if name in _FOR_PIXELS or name == b"eXIf":
            parts.append(whole)
        elif name == b"iCCP":
            small = _unpacks_small(body.partition(b"\0")[2][1:])
            flags |= {} if small else {"icc": None}
            parts.append(whole if small else b"")
        elif name == b"acTL":
            flags |= {"first-frame": None} if body[:4] > b"\0\0\0\1" else {}
        elif name in (b"tEXt", b"zTXt", b"iTXt") and body.startswith(_ORIENTED) and texts < 8:
            texts += 1
            parts.append(whole if _is_small_text(name, body) else b"")
        elif not name[0] & 0x20:
            raise ImageError(f"a PNG with the unknown chunk {name!r}, without which it cannot be shown")
    return b"".join(parts), tuple(flags)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield the name, the whole and the body of every chunk up to the end; checksums checked."""
    at = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            raise ImageError("truncated: the PNG ends before its last chunk")
        (size,) = struct.unpack_from(">I", data, at)
        whole = data[at : at + size + 12]
        if len(whole) < size + 12:
            raise ImageError("truncated: the PNG ends inside a chunk")
        name = whole[4:8]
        if zlib.crc32(whole[4:-4]) != int.from_bytes(whole[-4:], "big"):
            raise ImageError(f"damaged: the checksum of the PNG's chunk {name!r} is wrong")
        yield name, whole, whole[8:-4]
        if name == b"IEND":
            return
        at += size + 12
    raise ImageError(f"a PNG of more than {_MAX_CHUNKS:,} chunks")


def _is_small_text(name: bytes, body: bytes) -> bool:
    content = body.partition(b"\0")[2]
    if name == b"iTXt" and content[:1] == b"\1":  # compressed: method, language\0, keyword\0, text
        return _unpacks_small(content[2:].partition(b"\0")[2].partition(b"\0")[2])
    return _unpacks_small(content[1:]) if name == b"zTXt" else len(body) < _MAX_TEXT


def _unpacks_small(packed: bytes) -> bool:
    unpack = zlib.decompressobj()
    try:
        unpack.decompress(packed, _MAX_TEXT - 1)
    except zlib.error:
        return True  # Pillow passes over it
    return not unpack.unconsumed_tail


def check_jpeg(data: bytes) -> None:
    """Refuse a JPEG whose scans or samples Pillow cannot read in bounded time, or at all.

    Raises:
        ImageError: For more than `MAX_SCANS` scans, samples of another depth than 8 bits, or lossless coding.
    """
    scans, at = 0, 2
    marker = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
    for _ in range(_MAX_MARKERS):
        found = marker.search(data, at)
        if found is None or found[0] == b"\xff\xd9":
            return
        if scans == 0 and found.end() - at > _MAX_GAP:
            raise ImageError("damaged: a JPEG with more than 65,536 bytes between two segments")
        kind, at = found[0][1], found.end()
        if kind in (0x01, 0xD8):
            continue
        if at + 3 > len(data):
            return  # Pillow tells that it is cut
        if kind == 0xDA:
            if scans == 0 and data.count(b"\xff\xda", at) < MAX_SCANS:
                return  # no more can follow; the usual case, in no time
            scans += 1
            if scans > MAX_SCANS:
                raise ImageError(f"a JPEG of more than {MAX_SCANS} scans; expected about ten")
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            if kind in (0xC3, 0xC7, 0xCB, 0xCF):
                raise ImageError("a lossless JPEG, which is not read; convert it first")
            if data[at + 2] != 8:
                raise ImageError(f"a JPEG of {data[at + 2]} bits a sample; expected 8. Convert it first")
        at += max(2, int.from_bytes(data[at : at + 2], "big"))
    raise ImageError(f"a JPEG of more than {_MAX_MARKERS:,} segments")


def check_jpeg2000(data: bytes) -> None:
    """Refuse JPEG 2000 colours of more than 8 bits: Pillow's rounding turns their white into black.

    Grey is unpacked to 16 bits and right.

    Raises:
        ImageError: If it has no header, or more than one component deeper than 8 bits.

    Source:
        ISO/IEC 15444-1, A.5.1: the SIZ marker.
    """
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 42 > len(data):
        raise ImageError("truncated: a JPEG 2000 file without its header")
    (n,) = struct.unpack_from(">H", data, at + 40)
    depths = [(byte & 0x7F) + 1 for byte in data[at + 42 : at + 42 + 3 * n : 3]]
    if n > 1 and max(depths, default=0) > 8:
        raise ImageError(
            f"a JPEG 2000 image of {max(depths)} bits a colour, which is not read; save it as 16-bit PNG or TIFF"
        )


def check_ppm(data: bytes) -> None:
    """Refuse a PPM that Pillow would read for minutes, number by number.

    Raises:
        ImageError: If its header has no end, or its pixels are many and written in digits.
    """
    words = re.sub(rb"#[^\r\n]*", b"", data[:_MAX_PPM_HEADER]).split(maxsplit=4)
    if len(words) < 4:
        raise ImageError("damaged: a PPM without the end of its header")
    if words[0] in (b"P1", b"P2", b"P3") and len(data) > _MAX_PLAIN:
        raise ImageError(
            f"a PPM of {len(data):,} bytes in digits; expected at most {_MAX_PLAIN:,}. Save it in binary"
        )
