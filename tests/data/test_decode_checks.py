"""What is found in a file's bytes before a pixel is decoded; the files are built chunk by chunk."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from hemoscope.data.images import decode as module
from hemoscope.data.images.decode import decode, decode_opened
from hemoscope.errors import ImageError
from tests.data.mutated import PIXELS, encoded

RGB = PIXELS[:14, :10]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes, at: int = 33) -> bytes:
    """A PNG of RGB with more chunks after its header."""
    data = encoded(RGB, "PNG")
    return data[:at] + b"".join(chunks) + data[at:]


def swapped_profile() -> bytes:
    """An sRGB profile whose red and blue primaries change places in its table of tags."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"####", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"####", b"bXYZ", 1)


LONG = b"x" * 2_000_000
PROFILE = b"big\0\0" + zlib.compress(LONG)


@pytest.mark.parametrize(
    ("name", "body", "conversions"),
    [
        (b"zTXt", b"note\0\0" + zlib.compress(LONG), ()),
        (b"tEXt", b"note\0" + LONG, ()),
        (b"iTXt", b"note\0\1\0\0\0" + zlib.compress(LONG), ()),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(LONG), ()),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG), ()),
        (b"iCCP", PROFILE, ("icc",)),
        (b"heMo", b"private", ()),
    ],
)
def test_what_a_png_says_beside_its_pixels_is_no_damage(name, body, conversions):
    got = decode(png_with(chunk(name, body)))
    np.testing.assert_array_equal(got.pixels, RGB)
    assert got.conversions == conversions


def test_a_thousand_texts_that_unpack_to_a_gigabyte_are_not_unpacked(monkeypatch: pytest.MonkeyPatch):
    text = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(1_000_000)))
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 0)  # any text that Pillow sees is an error
    np.testing.assert_array_equal(decode(png_with(*[text] * 1000)).pixels, RGB)


def test_the_orientation_in_a_png_s_texts_is_applied():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    exif = Image.Exif()
    exif[0x0112] = 6
    packed = b"\nexif\n%8d\n" % len(exif.tobytes()) + exif.tobytes().hex().encode()
    for body in (
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(packed)),
        chunk(b"eXIf", exif.tobytes()[6:]),
    ):
        got = decode(png_with(body))
        np.testing.assert_array_equal(got.pixels, np.rot90(RGB, -1))
        assert got.conversions == ("exif-rotated",)


def test_a_png_that_needs_an_unknown_chunk_or_has_no_end_is_refused():
    with pytest.raises(ImageError, match=r"unknown chunk b'CgBI'"):
        decode(png_with(chunk(b"CgBI", b"\x50\0\x20\x02")))
    with pytest.raises(ImageError, match="ends before its last chunk"):
        decode(encoded(RGB, "PNG")[:-12])
    with pytest.raises(ImageError, match="more than 200,000 chunks"):
        decode(png_with(chunk(b"heMo", b"") * 200_001))
    assert decode(encoded(RGB, "PNG") + b"behind the end").conversions == ()


def test_an_animated_png_gives_its_first_picture_and_is_counted():
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (10, 200)]
    got = decode(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    assert (got.pixels == 10).all()
    assert got.conversions == ("first-frame",)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_that_changes_colours_is_counted_and_srgb_is_not(kind: str):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = decode(encoded(RGB, kind))
    for profile, conversions in ((srgb, ()), (swapped_profile(), ("icc",)), (b"no profile at all", ("icc",))):
        got = decode(encoded(RGB, kind, icc_profile=profile))
        assert got.conversions == conversions
        np.testing.assert_array_equal(got.pixels, plain.pixels)


def test_a_jpeg_of_more_than_100_scans_is_refused_before_it_is_decoded():
    data = encoded(PIXELS, "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    last = data[scans[-1] : -2]
    with pytest.raises(ImageError, match="more than 100 scans"):
        decode(data[:-2] + last * (101 - len(scans)) + data[-2:])
    np.testing.assert_array_equal(decode(data[:-2] + data[-2:]).pixels, decode(data).pixels)
    comment = b"\xff\xfe" + struct.pack(">H", 1002) + b"\xff\xda" * 500  # scans in a comment are none
    np.testing.assert_array_equal(decode(data[:2] + comment + data[2:]).pixels, decode(data).pixels)


def test_a_jpeg_of_endless_segments_another_depth_or_lossless_is_named():
    data = encoded(PIXELS, "JPEG")
    with pytest.raises(ImageError, match="more than 10,000 segments"):
        decode(data[:2] + b"\xff\xfe\0\2" * 10_001 + data[2:])
    with pytest.raises(ImageError, match="between two segments"):
        decode(data[:2] + b"\xff" * 70_000 + data[2:])
    frame = data.index(b"\xff\xc0")
    with pytest.raises(ImageError, match="JPEG of 12 bits a sample"):
        decode(data[: frame + 4] + b"\x0c" + data[frame + 5 :])
    with pytest.raises(ImageError, match="lossless JPEG"):
        decode(data[: frame + 1] + b"\xc3" + data[frame + 2 :])


def test_deep_grey_jpeg_2000_is_exact_and_deep_colour_is_refused():
    values = (PIXELS[:, :, 0].astype(np.uint16) << 8) | PIXELS[:, :, 2]
    got = decode(encoded(values, "JPEG2000"))
    np.testing.assert_array_equal(got.pixels[:, :, 0], np.floor(values / 257 + 0.5))
    assert got.conversions == ("grayscale", "16-bit")
    color = bytearray(encoded(PIXELS, "JPEG2000"))
    depths = color.index(b"\xff\x4f\xff\x51") + 42
    color[depths : depths + 9 : 3] = b"\x0b" * 3  # SIZ: bits less one
    with pytest.raises(ImageError, match="JPEG 2000 image of 12 bits a colour"):
        decode(bytes(color))
    with pytest.raises(ImageError, match="JPEG 2000 image of 12 bits a colour"):
        decode_opened(Image.open(io.BytesIO(bytes(color))))


def test_a_ppm_read_digit_by_digit_is_bounded():
    np.testing.assert_array_equal(
        decode(b"P3 # a note\n1 2 255 1 2 3 4 5 6\n").pixels, [[[1, 2, 3]], [[4, 5, 6]]]
    )
    with pytest.raises(ImageError, match="bytes in digits; expected at most"):
        decode(b"P3 1000 1000 255 " + b"7 " * 3_000_000)
    with pytest.raises(ImageError, match="without the end of its header"):
        decode(b"P6 " + b"# note\n" * 2000 + b"1 1 255 abc")
    deep = decode(b"P6 1 1 65535 " + bytes([255, 255, 0, 0, 128, 0]))
    assert deep.pixels.tolist() == [[[255, 0, 128]]]
    assert deep.conversions == ("16-bit",)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            r"a Git LFS pointer.*git lfs pull",
        ),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "a HEIC image"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "an AVIF image"),
        (bytes(128) + b"DICM" + bytes(40), "a DICOM file"),
        (b"\r\n<!DOCTYPE html><html>", "a web page"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\xff\x0a" + bytes(20), "a JPEG XL image"),
    ],
)
def test_a_file_of_another_kind_is_named(data, name):
    with pytest.raises(ImageError, match=rf"^{name}.*; expected one of BMP"):
        decode(data)


@pytest.mark.parametrize("kind", ["GIF", "JPEG", "WEBP", "PNG"])
def test_a_file_larger_than_any_image_of_its_format_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MAX_PACKED", 20_000)
    monkeypatch.setattr(module, "_MAX_BYTES", 40_000)
    data = encoded(PIXELS, kind)
    most = 40_000 if kind == "PNG" else 20_000
    assert decode(data.ljust(most, b"\0")).pixels.shape == PIXELS.shape
    with pytest.raises(ImageError, match=f"{most + 1:,} bytes; expected at most {most:,}"):
        decode(data.ljust(most + 1, b"\0"))


def test_only_images_of_more_than_four_million_pixels_wait_for_each_other(monkeypatch: pytest.MonkeyPatch):
    waited: list[bool] = []
    load = module._load
    monkeypatch.setattr(module, "_LARGE", 100)
    monkeypatch.setattr(
        module, "_load", lambda *args: (waited.append(module._one_large_at_a_time.locked()), load(*args))[1]
    )
    for side in (10, 11):
        decode(encoded(np.zeros((side, side, 3), np.uint8), "PNG"))
    assert waited == [False, True]
    assert not module._one_large_at_a_time.locked()
