"""TIFF: pages, planes, palettes and depths, in files written tag by tag after TIFF 6.0."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from PIL import Image

from hemoscope.data.images.decode import decode, decode_opened
from hemoscope.errors import ImageError
from tests.data.mutated import encoded

RNG = np.random.default_rng(11)
RGB = RNG.integers(0, 256, (21, 19, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (21, 19, 3), dtype=np.uint16)

Tags = Mapping[int, Sequence[int] | bytes]


def page(width: int, height: int, pieces: Sequence[bytes], bits: Sequence[int], **more: int) -> dict:
    """One page as `tiff` takes it; more tags as `t<number>`."""
    tags: dict[int, Sequence[int] | bytes] = {
        256: [width], 257: [height], 258: bits, 259: [1], 262: [2 if len(bits) > 2 else 1], 277: [len(bits)],
        278: [height], 273: pieces, 279: [len(piece) for piece in pieces],
    }  # fmt: skip
    return tags | {int(name[1:]): value for name, value in more.items()}


def tiff(*pages: Mapping, order: str = "<") -> bytes:
    """A TIFF; strips and tiles (tags 273, 324) are given as their bytes, all else as LONG or ASCII."""
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for tags in pages:
        rows = []
        for tag, value in sorted(tags.items()):
            if tag in (273, 324):
                places = []
                for piece in value:
                    places.append(len(out))
                    out += piece
                value = places
            kind = 2 if isinstance(value, bytes) else 4
            body = value if kind == 2 else struct.pack(f"{order}{len(value)}I", *value)
            if len(body) > 4:
                place = struct.pack(f"{order}I", len(out))
                out += body
                body = place
            rows.append(struct.pack(f"{order}HHI", tag, kind, len(value)) + body.ljust(4, b"\0"))
        struct.pack_into(f"{order}I", out, link, len(out))
        out += struct.pack(f"{order}H", len(rows)) + b"".join(rows) + bytes(4)
        link = len(out) - 4
    return bytes(out)


def rgb_page(pixels: np.ndarray = RGB, **more) -> dict:
    height, width = pixels.shape[:2]
    return page(width, height, [pixels.tobytes()], [8, 8, 8], **more)


def gray_pages(pixels: np.ndarray = RGB, text: bytes = b"", **more) -> list[dict]:
    height, width = pixels.shape[:2]
    pages = [page(width, height, [pixels[:, :, k].tobytes()], [8], **more) for k in range(pixels.shape[2])]
    if text:
        pages[0][270] = text + b"\0"
    return pages


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("shape", ["strips", "tiles"])
@pytest.mark.parametrize("alpha", [False, True])
def test_planes_of_16_bits_are_put_together(order: str, shape: str, alpha: bool):
    planes = [DEEP[:, :, k].astype(f"{order}u2") for k in range(3)]
    more: dict = {"t284": [2], "t262": [2]}
    if alpha:
        planes.append(np.full_like(planes[0], 0xFFFF))
        more["t338"] = [2]
    if shape == "strips":
        pieces = [plane[top : top + 8].tobytes() for plane in planes for top in (0, 8, 16)]
        tags = page(19, 21, pieces, [16] * len(planes), t278=[8], **more)
    else:
        padded = [np.pad(plane, ((0, 11), (0, 13))) for plane in planes]
        pieces = [
            plane[y : y + 16, x : x + 16].tobytes() for plane in padded for y in (0, 16) for x in (0, 16)
        ]
        tags = page(19, 21, [b""], [16] * len(planes), t322=[16], t323=[16], t324=pieces, **more)
        del tags[273], tags[278], tags[279]
    data = tiff(tags, order=order)
    for got in (decode(data), decode_opened(Image.open(io.BytesIO(data)))):
        np.testing.assert_array_equal(got.pixels, DEEP >> 8)
        assert got.conversions == (("alpha", "16-bit") if alpha else ("16-bit",))


def test_planes_of_16_bits_that_are_not_rgb_are_refused():
    pieces = [DEEP[:, :, 0].tobytes()] * 4
    with pytest.raises(ImageError, match="16-bit planes that are not RGB"):
        decode(tiff(page(19, 21, pieces, [16] * 4, t284=[2], t262=[5])))


@pytest.mark.parametrize("scale", [1, 257])
def test_a_palette_of_8_or_16_bits_gives_its_colours(scale: int):
    index = RNG.integers(0, 256, (21, 19), dtype=np.uint8)
    palette = RNG.integers(0, 256, (256, 3))
    palette[7] = 255
    table = (palette.T.ravel() * scale).tolist()
    got = decode(tiff(page(19, 21, [index.tobytes()], [8], t262=[3], t320=table)))
    np.testing.assert_array_equal(got.pixels, palette[index])
    assert got.conversions == ("palette",)


def test_white_as_zero_and_12_bits_mean_what_the_tags_say():
    values = DEEP[:, :, 0]
    got = decode(tiff(page(19, 21, [values.tobytes()], [16], t262=[0])))
    np.testing.assert_array_equal(got.pixels[:, :, 1], np.floor((65535 - values.astype(int)) / 257 + 0.5))
    twelve = (
        np.arange(0, 4096, 195, dtype=np.int64).repeat(2)[:42].reshape(21, 2)
    )  # two values in three bytes
    first, second = twelve[:, 0], twelve[:, 1]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)
    got = decode(tiff(page(2, 21, [packed.tobytes()], [12])))
    np.testing.assert_array_equal(got.pixels[:, :, 0], np.floor(twelve * 255 / 4095 + 0.5))
    assert got.conversions == ("grayscale", "16-bit")


@pytest.mark.parametrize("mark", [{"t254": [1]}, {"t254": [4]}, {"t255": [2]}])
def test_a_reduced_page_or_a_mask_before_the_image_is_skipped(mark: dict):
    small = rgb_page(np.zeros((3, 2, 3), np.uint8), **mark)
    got = decode(tiff(small, small, rgb_page(), small))
    np.testing.assert_array_equal(got.pixels, RGB)
    assert got.conversions == ("thumbnail-skipped",)
    assert decode(tiff(rgb_page(), small)).conversions == ()
    assert decode(tiff(rgb_page(), rgb_page())).conversions == ("first-frame",)
    np.testing.assert_array_equal(decode(tiff(rgb_page(**mark))).pixels, RGB)  # it is all there is
    with pytest.raises(ImageError, match="reduced pages only"):
        decode(tiff(small, small))
    with pytest.raises(ImageError, match="reduced pages only"):
        decode(tiff(small | {330: [8]}))  # the image itself lies in a sub-directory


IMAGEJ = b"ImageJ=1.53t\nimages=3\nchannels=3\nhyperstack=true\nmode=composite\n"
OME = b'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Pixels SizeC="3" SizeT="1" SizeZ="1" Type="uint8">%s</Pixels></OME>'
RAMPS = [bytes(range(256)) if k == c else bytes(256) for c in range(3) for k in range(3)]


def imagej_tables(*tables: bytes) -> Tags:
    head = b"IJIJ" + b"luts" + struct.pack(">I", len(tables))
    return {50838: [len(head), *[768] * len(tables)], 50839: head + b"".join(tables)}


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (IMAGEJ, {}),
        (IMAGEJ, imagej_tables(*[b"".join(RAMPS[c : c + 3]) for c in (0, 3, 6)])),
        (OME % b"", {}),
        (OME % b'<Channel Color="-16776961"/><Channel Color="16711935"/><Channel Color="65535"/>', {}),
    ],
)
def test_three_pages_of_a_composite_are_red_green_and_blue(text: bytes, tags: Tags):
    pages = gray_pages(text=text)
    pages[0] |= tags
    got = decode(tiff(*pages))
    np.testing.assert_array_equal(got.pixels, RGB)
    assert got.conversions == ("channel-pages",)


@pytest.mark.parametrize(
    "pages",
    [
        gray_pages(text=IMAGEJ)[:1],
        gray_pages(text=IMAGEJ.replace(b"=3", b"=2"))[:2],
        gray_pages(np.dstack([RGB, RGB[:, :, :1]]), text=IMAGEJ.replace(b"=3", b"=4")),
        gray_pages(text=IMAGEJ.replace(b"composite", b"grayscale")),
        gray_pages(text=IMAGEJ.replace(b"images=3", b"images=6")) + gray_pages(),
        [gray_pages(text=IMAGEJ)[0] | imagej_tables(*[b"".join(RAMPS[c : c + 3]) for c in (6, 3, 0)]), *gray_pages()[1:]],
        gray_pages(text=OME % b'<Channel Color="65535"/><Channel Color="16711935"/><Channel Color="-16776961"/>'),
        gray_pages(text=OME % b"", t262=[0]),
        [*gray_pages(text=OME % b"")[:2], *gray_pages(RGB[:9])[:1]],
    ],
)  # fmt: skip
def test_channels_that_make_no_rgb_image_are_refused(pages: list[dict]):
    with pytest.raises(ImageError, match=r"channels in \d page\(s\).* Save it as RGB"):
        decode(tiff(*pages))


@pytest.mark.parametrize("text", [b"", b"ImageJ=1.53t\nimages=3\nslices=3\n", b'{"shape": [3, 21, 19]}'])
def test_pages_that_are_no_channels_are_a_stack(text: bytes):
    got = decode(tiff(*gray_pages(text=text)))
    np.testing.assert_array_equal(got.pixels, np.repeat(RGB[:, :, :1], 3, axis=2))
    assert got.conversions == ("grayscale", "first-frame")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({259: [34712]}, "in JPEG 2000 compression"),
        ({259: [50001]}, "in WebP compression"),
        ({259: [4711]}, "in codec 4711 compression"),
        ({339: [3, 3, 3], 258: [32, 32, 32]}, "floating-point samples of 32 bits"),
        ({339: [2, 2, 2]}, "signed samples of 8 bits"),
        ({339: [6, 6, 6]}, "complex samples"),
        ({262: [6]}, "uncompressed YCbCr with subsampled colours"),
        ({258: [5, 6, 5]}, r"3 unsigned samples of 5/6 bits, photometric 2, no compression"),
        ({262: [8]}, "'LAB' has no agreed meaning"),
        ({277: [255]}, "255 samples a pixel"),
        ({278: [4]}, "truncated: a TIFF of 1 strips or tiles; expected 6"),
    ],
)
def test_a_kind_that_is_not_read_is_named_and_nothing_is_printed(
    tags: Tags, reason: str, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(ImageError, match=reason):
        decode(tiff(rgb_page() | tags))
    assert capfd.readouterr() == ("", "")


def test_a_damaged_compressed_page_is_an_error_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]):
    data = bytearray(encoded(RGB, "TIFF", compression="tiff_lzw"))
    data[40:80] = b"\xff" * 40
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_directories_without_end_are_not_walked():
    pages = [rgb_page(RGB[:2, :2])] * 8
    data = bytearray(tiff(*pages))
    struct.pack_into("<I", data, len(data) - 4, len(data))
    data += struct.pack("<H", 0xFFFF)  # the ninth: 65,535 tags that are not there
    assert decode(bytes(data)).conversions == ("first-frame",)
    circle = bytearray(tiff(rgb_page()))
    circle[-4:] = circle[4:8]  # the page after the first is the first
    assert decode(bytes(circle)).conversions == ()


def test_a_directory_that_claims_too_much_is_refused():
    data = tiff(rgb_page())
    at = struct.unpack_from("<I", data, 4)[0]
    with pytest.raises(ImageError, match="65,535 tags"):
        decode(data[:at] + b"\xff\xff" + data[at + 2 :])
    entry, more = (struct.pack("<HHI", 700, 2, n) for n in (99, 99_999))
    with pytest.raises(ImageError, match="claim more bytes than the file has"):
        decode(tiff(rgb_page() | {700: bytes(99)}).replace(entry, more))
    with pytest.raises(ImageError, match="directory lies behind the end"):
        decode(data[: at + 20])
    with pytest.raises(ImageError, match="without a page"):
        decode(b"II*\0" + bytes(20))
    with pytest.raises(ImageError, match="200,001 strips or tiles"):
        decode(tiff(page(1, 200_001, [b"\0"] * 200_001, [8], t278=[1])))


def test_big_tiff_is_read_as_well():
    image = Image.fromarray(RGB)
    data = encoded(image, "TIFF", big_tiff=True)
    assert data[2] == 43
    np.testing.assert_array_equal(decode(data).pixels, RGB)
