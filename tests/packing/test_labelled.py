"""Images that an export is compared on."""

from __future__ import annotations

from hemoscope.packing.labelled import some_images


def test_images_to_compare_on_may_be_of_one_class(image_folder):
    """They are asked about and not learnt from."""
    assert len(some_images(image_folder({"red": 5}), 3)) == 3
