"""Decoding: upright 8-bit RGB or an error, with cv2 and the formats' definitions as oracles."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hemoscope.data.images.decode import MAX_PIXELS, decode
from hemoscope.errors import ImageError

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (14, 10, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def test_plain_rgb_comes_back_as_it_is_from_bytes_and_from_a_path(tmp_path):
    data = encoded(Image.fromarray(RGB))
    (tmp_path / "cell.png").write_bytes(data)
    for source in (data, tmp_path / "cell.png"):
        got = decode(source)
        np.testing.assert_array_equal(got.pixels, RGB)
        assert got.pixels.dtype == np.uint8
        assert got.pixels.flags.writeable
        assert got.conversions == ()


def test_a_jpeg_agrees_with_opencv():
    smooth = cv2.GaussianBlur(cv2.resize(RGB, (64, 48)), (0, 0), 3)
    data = encoded(Image.fromarray(smooth), "JPEG", quality=95, subsampling=0)
    want = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.abs(decode(data).pixels.astype(int) - want).max() <= 2


def test_grayscale_becomes_three_equal_channels_and_is_counted():
    got = decode(encoded(Image.fromarray(RGB[:, :, 0])))
    np.testing.assert_array_equal(got.pixels, np.repeat(RGB[:, :, :1], 3, axis=2))
    assert got.conversions == ("grayscale",)


def test_black_and_white_is_grayscale():
    bits = RGB[:, :, 0] > 128
    got = decode(encoded(Image.fromarray(bits)))
    np.testing.assert_array_equal(got.pixels[:, :, 1], np.where(bits, 255, 0))
    assert got.conversions == ("grayscale",)


@pytest.mark.parametrize("gray", [False, True])
def test_alpha_is_laid_on_white(gray):
    alpha = RNG.integers(0, 256, RGB.shape[:2], dtype=np.uint8)
    alpha[0] = 0
    color = RGB[:, :, :1] if gray else RGB
    got = decode(encoded(Image.fromarray(np.dstack([color, alpha]))))
    share = alpha[:, :, None] / 255
    want = np.broadcast_to(share * color + (1 - share) * 255, RGB.shape)
    assert np.abs(got.pixels - want).max() <= 1
    assert (got.pixels[0] == 255).all()
    assert got.conversions == (("grayscale", "alpha") if gray else ("alpha",))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_that_is_zero_everywhere_is_no_alpha(kind):
    clear = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    got = decode(
        encoded(Image.fromarray(clear), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    )
    np.testing.assert_array_equal(got.pixels, RGB)
    assert got.conversions == ("alpha-zero",)
    clear[3, 4, 3] = 1  # one pixel that is not: an alpha channel
    got = decode(encoded(Image.fromarray(clear), "PNG"))
    assert (got.pixels[0] == 255).all()
    assert got.conversions == ("alpha",)


def test_a_palette_gives_its_colours_and_its_transparent_entry_is_white():
    indices = RNG.integers(0, 4, (6, 5), dtype=np.uint8)
    palette = np.array([[200, 10, 30], [0, 0, 0], [9, 99, 199], [255, 229, 203]], dtype=np.uint8)
    image = Image.frombytes("P", (5, 6), indices.tobytes())
    image.putpalette(palette.tobytes())
    opaque = decode(encoded(image))
    np.testing.assert_array_equal(opaque.pixels, palette[indices])
    assert opaque.conversions == ("palette",)
    clear = decode(encoded(image, transparency=1))
    want = palette.copy()
    want[1] = 255
    np.testing.assert_array_equal(clear.pixels, want[indices])
    assert clear.conversions == ("palette", "alpha")


def test_cmyk_is_converted_by_its_inks():
    ink = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    got = decode(encoded(Image.frombytes("CMYK", (5, 6), ink.tobytes()), "TIFF"))
    want = (255.0 - ink[:, :, :3]) * (255.0 - ink[:, :, 3:]) / 255
    assert np.abs(got.pixels - want).max() <= 2
    assert got.conversions == ("cmyk",)


def test_sixteen_bit_gray_is_divided_by_257_and_rounded():
    values = np.array([[0, 128, 129, 257, 32767, 32768], [65535, 65407, 65406, 385, 386, 12345]], np.uint16)
    for kind in ("PNG", "TIFF"):
        got = decode(encoded(Image.fromarray(values), kind))
        want = np.floor(values / 257 + 0.5)
        np.testing.assert_array_equal(got.pixels, np.repeat(want[:, :, None], 3, axis=2), err_msg=kind)
        assert got.conversions == ("grayscale", "16-bit")


def test_sixteen_bit_colour_keeps_its_upper_byte_and_is_counted():
    values = RNG.integers(0, 65536, (6, 5, 3), dtype=np.uint16)
    ok, data = cv2.imencode(".png", values[:, :, ::-1])
    assert ok
    got = decode(data.tobytes())
    np.testing.assert_array_equal(got.pixels, values >> 8)
    assert got.conversions == ("16-bit",)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize(
    ("low", "high", "narrow"),
    [(0, 4095, True), (0, 16383, True), (32768, 36863, True), (0, 17000, False), (40000, 57000, False)],
)
def test_sixteen_bits_that_are_hardly_used_are_counted_and_not_stretched(gray, low, high, narrow):
    shape = RGB.shape[:2] if gray else RGB.shape
    values = RNG.integers(low, high + 1, shape, dtype=np.uint16)
    values.flat[:2] = low, high
    ok, data = cv2.imencode(".png", values)
    assert ok
    got = decode(data.tobytes())
    assert ("16-bit-narrow" in got.conversions) == narrow
    want = values[..., None] if gray else values[:, :, ::-1]
    assert np.abs(got.pixels - want / 257).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied_and_counted(orientation, kind):
    blocks = np.repeat(np.repeat(RNG.integers(0, 256, (3, 2, 3), dtype=np.uint8), 16, 0), 16, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    got = decode(encoded(Image.fromarray(blocks), kind, exif=exif, **options))
    # EXIF 2.3, tag 274: where row 0 and column 0 of the stored image lie on the upright one.
    want = {
        1: blocks,
        2: blocks[:, ::-1],
        3: blocks[::-1, ::-1],
        4: blocks[::-1],
        5: blocks.transpose(1, 0, 2),
        6: np.rot90(blocks, -1),
        7: blocks[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(blocks),
    }[orientation]
    assert got.pixels.shape == want.shape
    assert np.abs(got.pixels.astype(int) - want).max() <= 3
    assert got.conversions == (("exif-rotated",) if orientation > 1 else ())


def test_a_damaged_exif_block_leaves_the_pixels_as_they_are_and_is_counted():
    plain = encoded(Image.fromarray(RGB), "JPEG")
    body = b"Exif\0\0" + b"no tiff header at all"
    broken = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]
    got = decode(broken)
    np.testing.assert_array_equal(got.pixels, decode(plain).pixels)
    assert got.conversions == ("exif-damaged",)


def test_an_animation_gives_its_first_frame_and_is_counted():
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (10, 200)]
    got = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (got.pixels == 10).all()
    assert "first-frame" in got.conversions


def test_a_cut_jpeg_is_called_truncated():
    data = encoded(Image.fromarray(cv2.resize(RGB, (80, 60))), "JPEG")
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: len(data) // 2])


def test_an_empty_file_is_called_empty():
    with pytest.raises(ImageError, match=r"^the file is empty; expected an image$"):
        decode(b"")


@pytest.mark.parametrize("data", [b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 4096, b"GIF"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ImageError, match="not an image; expected one of"):
        decode(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [5001, 9000, 10_000, 60_000])
def test_a_header_that_claims_too_many_pixels_is_refused_before_loading(side):
    assert side * side > MAX_PIXELS
    with pytest.raises(ImageError, match=r"claims .* pixels"):
        decode(png_claiming(side, side))


def test_a_bomb_is_refused_also_where_warnings_are_errors():
    with pytest.raises(ImageError, match=r"claims more than 25,000,000 pixels"):
        decode(png_claiming(10_000, 10_000))


def test_the_largest_allowed_claim_is_read_on_and_found_truncated():
    with pytest.raises(ImageError, match="truncated"):
        decode(png_claiming(5000, 5000))


@pytest.mark.parametrize("values", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70_000, np.int32)])
def test_pixel_formats_without_a_meaning_in_8_bits_are_refused(values):
    with pytest.raises(ImageError, match=r"no agreed meaning in 8-bit RGB|expected 8 or 16 bits"):
        decode(encoded(Image.fromarray(values), "TIFF"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        decode(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        decode(tmp_path / "pipe.jpg")


@pytest.mark.real
def test_a_real_cell_agrees_with_opencv(real_cells: Path):
    path = next((real_cells / "neutrophil").glob("[A-Z]*.jpg"))
    want = cv2.imread(str(path))[:, :, ::-1]
    got = decode(path)
    assert got.conversions == ()
    assert np.abs(got.pixels.astype(int) - want).mean() < 0.5
