import io

import numpy as np
import pytest
from PIL import Image

from hemoscope.report.montage import THUMB_PX, thumbnails


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "cells"
    for name, colour in (("ig/a.png", (200, 30, 40)), ("ig/b & <c>.png", (30, 200, 40))):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (360, 180), colour).save(root / name)
    Image.new("RGB", (10, 10)).save(tmp_path / "outside.png")
    return root


def colour_of(thumbnail) -> np.ndarray:
    with Image.open(io.BytesIO(thumbnail.jpeg)) as image:
        assert image.format == "JPEG"
        assert image.size == (thumbnail.width_px, thumbnail.height_px)
        return np.asarray(image, dtype=float).mean(axis=(0, 1))


def test_thumbnails_are_small_and_keep_shape_and_colour(folder):
    found = thumbnails(folder, ["ig/a.png", "ig/b & <c>.png"])
    assert (found["ig/a.png"].width_px, found["ig/a.png"].height_px) == (THUMB_PX, THUMB_PX // 2)
    np.testing.assert_allclose(colour_of(found["ig/a.png"]), (200, 30, 40), atol=6)
    np.testing.assert_allclose(colour_of(found["ig/b & <c>.png"]), (30, 200, 40), atol=6)


@pytest.mark.parametrize("path", ["../outside.png", "ig/../../outside.png", "ig/none.png", "ig/\0.png", "ig"])
def test_what_is_not_a_readable_image_below_the_root_gives_no_thumbnail(folder, path):
    assert set(thumbnails(folder, ["ig/a.png", path])) == {"ig/a.png"}


def test_no_absolute_path_is_followed(folder, tmp_path):
    assert thumbnails(folder, [(tmp_path / "outside.png").as_posix()]) == {}


def test_a_data_set_that_moved_gives_no_thumbnails(tmp_path):
    assert thumbnails(tmp_path / "gone", ["ig/a.png"]) == {}
    assert thumbnails(tmp_path / "gone.npz", ["test/00001"]) == {}


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_inside_an_npz_are_the_ones_of_their_number(tmp_path, channels, save):
    values = np.arange(40, dtype=np.uint8) * 6
    images = np.broadcast_to(values.reshape(-1, 1, 1, *(1 for _ in channels)), (40, 28, 28, *channels))
    save(tmp_path / "blood.npz", test_images=images, train_images=images[::-1])
    wanted = ["test/00031", "test/00002", "train/00000", "test/00099", "test/x", "gone/00001"]
    found = thumbnails(tmp_path / "blood.npz", wanted)
    grey = {path: colour_of(thumbnail).mean() for path, thumbnail in found.items()}
    want = {"test/00031": values[31], "test/00002": values[2], "train/00000": values[39]}
    assert {path: grey[path] for path in want} == pytest.approx(want, abs=2)
    assert set(found) == set(want)


def test_an_npz_that_is_no_archive_gives_no_thumbnails(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"not a zip archive")
    assert thumbnails(tmp_path / "bad.npz", ["test/00001"]) == {}
