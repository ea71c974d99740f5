"""Whose background a cell is put on: another's, of the class and the acquisition that the test's name says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemoscope.data.audit import second_acquisition
from hemoscope.data.synthetic.scene import draw_cell
from hemoscope.predict.evaluate import scanned
from hemoscope.records import CellImage
from hemoscope.stress.background import cover
from hemoscope.stress.grounds import TESTS, Grounds, look, tried
from hemoscope.stress.sample import Sample, load
from tests.two_networks import MadeOnce

CLASSES = ("eosinophil", "lymphocyte")
BLUISH = np.array((0.86, 0.93, 1.0))  # of the second acquisition's light


@pytest.fixture(scope="module")
def sample(made_once: MadeOnce) -> Sample:
    """Two classes of six cells in one light and three in another."""

    def draw(folder: Path) -> None:
        for row, name in enumerate(CLASSES):
            (folder / "cells" / name).mkdir(parents=True)
            for i in range(9):
                pixels = draw_cell(name, size_px=72, rng=np.random.default_rng([row, i]))
                light = BLUISH if i >= 6 else 1
                Image.fromarray((pixels * light).astype(np.uint8)).save(folder / "cells" / name / f"{i}.png")

    return sample_of(made_once("two-lights", draw) / "cells")


def sample_of(root: Path) -> Sample:
    data = scanned(root)
    target = np.array([CLASSES.index(image.class_name) for image in data.images])
    return Sample(data, {name: name for name in CLASSES}, data.images, target, data.images, None)


@pytest.fixture(scope="module")
def grounds(sample: Sample) -> Grounds:
    return look(sample, seed=0)


def second(image: CellImage) -> bool:
    return int(Path(image.path).stem) >= 6


def test_donors_are_what_their_test_says(sample: Sample, grounds: Grounds):
    assert {image.path for image in second_acquisition(sample.images)} == {
        image.path for image in sample.images if second(image)
    }
    assert grounds.usable.mean() > 0.8
    usable = {image.path for image, good in zip(sample.images, grounds.usable, strict=True) if good}
    for image, same, other, strange in zip(sample.images, *grounds.donors.values(), strict=True):
        assert same
        assert other
        assert {same.path, other.path} <= usable - {image.path}
        assert same.class_name == image.class_name != other.class_name
        assert second(same) == second(other) == second(image)
        assert (strange is None) == second(image)
        assert strange is None or (second(strange) and strange.path in usable)
    assert grounds.no_second == ""


def test_donors_follow_from_the_seed(sample: Sample, grounds: Grounds):
    assert look(sample, seed=0).donors == grounds.donors
    assert look(sample, seed=1).donors != grounds.donors


def test_a_cell_lies_on_its_donors_covered_image(sample: Sample, grounds: Grounds):
    places = [0, 1, 7, 10]
    pixels = load(sample.manifest, [sample.images[i] for i in places])
    tests = tried(sample, grounds, places, pixels)
    assert set(tests) == set(TESTS)
    for name, donors in grounds.donors.items():
        parts, changed = tests[name]
        assert parts == [i for i in places if grounds.usable[i] and donors[i]]
        for place, image in zip(parts, changed, strict=True):
            donor = donors[place]
            assert donor
            ground = cover(load(sample.manifest, [donor])[0], grounds.radius)
            np.testing.assert_array_equal(image[:3], ground[:3])  # far from the middle
            own = pixels[places.index(place)]
            np.testing.assert_array_equal(image[36, 36], own[36, 36])
    parts, changed = tests["hidden"]
    np.testing.assert_array_equal(changed[0], cover(pixels[places.index(parts[0])], grounds.radius))


def test_with_one_light_no_cell_is_put_on_a_second_acquisition(discs: Path):
    data = scanned(discs)
    target = np.array([data.classes.index(image.class_name) for image in data.images])
    found = look(Sample(data, {}, data.images[:4], target[:4], data.images[:4], None), seed=0)
    assert found.donors["second-acquisition"] == [None] * 4
    assert "one tone" in found.no_second
