"""One warp against torchvision's transforms, against the definition, and across devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from hemoscope.data.augment import Augmentation, draw_affine, view_affine, warp, warp_on_device
from hemoscope.errors import ShapeError

CANVAS, IMAGE = 64, 56


def cells(n: int = 4, side: int = CANVAS, seed: int = 0) -> np.ndarray:
    """Images with edges and gradients: smooth noise with a bright square."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 3, 9, 9)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(small), (side, side), mode="bicubic").clamp(
        0, 255
    )
    images = smooth.permute(0, 2, 3, 1).round().to(torch.uint8).numpy().copy()
    images[:, side // 3 : side // 2, side // 4 : side // 2] = 250
    return images


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def by_definition(image: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Bilinear interpolation one output pixel at a time; outside is zero."""
    out = np.zeros((side, side, 3))
    for y in range(side):
        for x in range(side):
            sx, sy = matrix @ (x, y, 1.0)
            for cy in (int(np.floor(sy)), int(np.floor(sy)) + 1):
                for cx in (int(np.floor(sx)), int(np.floor(sx)) + 1):
                    if 0 <= cy < image.shape[0] and 0 <= cx < image.shape[1]:
                        out[y, x] += (1 - abs(sx - cx)) * (1 - abs(sy - cy)) * image[cy, cx]
    return np.rint(out)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), crop=st.sampled_from(["center", "random"]))
def test_a_warp_is_bilinear_interpolation_at_the_drawn_points(seed: int, crop: str):
    images = cells(1, 24, seed)
    augmentation = Augmentation(crop=crop)  # type: ignore[arg-type]
    matrices = draw_affine(
        1, np.random.default_rng(seed), canvas_px=24, image_px=16, augmentation=augmentation
    )
    assert difference(warp(images, matrices, image_px=16)[0], by_definition(images[0], matrices[0], 16)) <= 1


@pytest.mark.parametrize("fill", ["black", "edge", "white"])
def test_opencv_and_torch_give_the_same_pixels_to_one_grey_level(fill: str):
    images = cells(32)
    matrices = draw_affine(
        32,
        np.random.default_rng(1),
        canvas_px=CANVAS,
        image_px=IMAGE,
        augmentation=Augmentation(crop="random"),
    )
    ours = warp(images, matrices, image_px=IMAGE, fill=fill)  # type: ignore[arg-type]
    theirs = warp_on_device(
        torch.from_numpy(images),
        torch.from_numpy(matrices),
        image_px=IMAGE,
        fill=fill,  # type: ignore[arg-type]
    ).numpy()
    assert difference(ours, theirs) <= 1


@pytest.mark.gpu
def test_the_gpu_gives_the_same_pixels_to_one_grey_level():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images = cells(64, 256)
    matrices = draw_affine(
        64, np.random.default_rng(2), canvas_px=256, image_px=224, augmentation=Augmentation(crop="random")
    )
    on_gpu = warp_on_device(torch.from_numpy(images).cuda(), torch.from_numpy(matrices).cuda(), image_px=224)
    assert difference(warp(images, matrices, image_px=224), on_gpu.cpu().numpy()) <= 1


@pytest.mark.parametrize("angle_deg", [-60.0, -17.0, 0.0, 33.3, 60.0])
@pytest.mark.parametrize(("hflip", "vflip"), [(False, False), (True, False), (False, True), (True, True)])
def test_it_agrees_with_torchvision_flip_rotate_centre_crop(angle_deg: float, hflip: bool, vflip: bool):
    class Fixed:
        """A generator that gives the angle and the flips asked for."""

        def random(self, shape: tuple[int, int]) -> np.ndarray:
            draw = [(angle_deg / 60 + 1) / 2, 0.0 if hflip else 0.9, 0.0 if vflip else 0.9, 0.5, 0.5]
            return np.tile(draw, (shape[0], 1))

    images = cells(2)
    matrices = draw_affine(2, Fixed(), canvas_px=CANVAS, image_px=IMAGE, augmentation=Augmentation())  # type: ignore[arg-type]
    ours = warp(images, matrices, image_px=IMAGE)
    reference = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    reference = tv.horizontal_flip(reference) if hflip else reference
    reference = tv.vertical_flip(reference) if vflip else reference
    reference = tv.rotate(reference, angle_deg, interpolation=InterpolationMode.BILINEAR)
    reference = tv.center_crop(reference, [IMAGE, IMAGE]).permute(0, 2, 3, 1).numpy()
    inside = (
        np.hypot(*(np.mgrid[:IMAGE, :IMAGE] - (IMAGE - 1) / 2)) < CANVAS / 2 - 2
    )  # the canvas' edge blurs apart
    assert difference(ours[:, inside], np.rint(reference)[:, inside]) <= 1


def test_the_centre_crop_copies_pixels_and_the_full_image_scales_them():
    images = cells(2)
    centre = warp(
        images, view_affine(2, canvas_px=CANVAS, image_px=IMAGE, view="center_crop"), image_px=IMAGE
    )
    np.testing.assert_array_equal(centre, images[:, 4:60, 4:60])
    odd = warp(images, view_affine(2, canvas_px=CANVAS, image_px=55, view="center_crop"), image_px=55)
    np.testing.assert_array_equal(odd, images[:, 4:59, 4:59])
    full = warp(images, view_affine(2, canvas_px=CANVAS, image_px=32, view="full_image"), image_px=32)
    means = images.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))  # each output pixel lies between four
    assert difference(full, np.rint(means)) <= 1


def test_a_draw_depends_on_the_seed_alone_and_covers_what_the_recipe_allows():
    def draw(seed: int, **options: object) -> np.ndarray:
        augmentation = Augmentation(**options)  # type: ignore[arg-type]
        return draw_affine(
            4000, np.random.default_rng(seed), canvas_px=CANVAS, image_px=IMAGE, augmentation=augmentation
        )

    np.testing.assert_array_equal(draw(7), draw(7))
    assert not np.array_equal(draw(7), draw(8))
    linear = draw(7)[:, :, :2]
    mirrored = np.linalg.det(linear) < 0
    assert 0.46 < mirrored.mean() < 0.54  # one flip of two, but not both
    rotation = linear * np.sign(np.stack([linear[:, 0, 0], linear[:, 1, 1]], axis=1))[:, :, None]
    angles = np.rad2deg(np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0]))
    assert np.abs(angles).max() <= 60.0 + 1e-9
    assert np.abs(angles).max() > 59.5
    assert abs(angles.std() - 120 / np.sqrt(12)) < 1.0
    # What is switched off leaves the other draws as they were.
    np.testing.assert_allclose(np.abs(draw(7, hflip=False, vflip=False)[:, 0, 0]), np.abs(linear[:, 0, 0]))
    plain = draw(7, rotation_deg=0, hflip=False, vflip=False)
    np.testing.assert_array_equal(plain, np.tile([[1, 0, 4.0], [0, 1, 4.0]], (4000, 1, 1)))
    shifts = draw(7, rotation_deg=0, hflip=False, vflip=False, crop="random")[:, :, 2]
    assert set(np.unique(shifts)) == set(range(9))


def test_outside_the_canvas_is_black_or_the_edge():
    images = np.full((1, CANVAS, CANVAS, 3), 200, np.uint8)
    turned = np.array([[[0.7071, -0.7071, 32], [0.7071, 0.7071, -13.0]]])
    assert warp(images, turned, image_px=IMAGE).min() == 0
    assert warp(images, turned, image_px=IMAGE, fill="edge").min() == 200


def test_an_input_larger_than_the_canvas_is_refused():
    with pytest.raises(ShapeError, match="expected an input of 1 to 64 px.*got 65 px"):
        view_affine(1, canvas_px=64, image_px=65, view="center_crop")


def test_autocast_does_not_move_a_pixel():
    # A matrix product of coordinates in bf16 is up to a quarter of a pixel off.
    images = np.random.default_rng(0).integers(0, 256, (4, CANVAS, CANVAS, 3), dtype=np.uint8)
    rng = np.random.default_rng(1)
    matrices = draw_affine(4, rng, canvas_px=CANVAS, image_px=IMAGE, augmentation=Augmentation())
    given = torch.from_numpy(images), torch.from_numpy(matrices)
    want = warp_on_device(*given, image_px=IMAGE)
    with torch.autocast("cpu", torch.bfloat16):
        got = warp_on_device(*given, image_px=IMAGE)
    assert torch.equal(got, want)


@pytest.mark.parametrize(("canvas_px", "image_px"), [(342, 299), (256, 224), (65, 64), (67, 64), (69, 64)])
def test_the_centre_crop_is_torchvision_s_to_the_pixel(canvas_px: int, image_px: int):
    from torchvision.transforms.functional import center_crop

    image = np.random.default_rng(0).integers(0, 256, (canvas_px, canvas_px, 3), dtype=np.uint8)
    matrix = view_affine(1, canvas_px=canvas_px, image_px=image_px, view="center_crop")
    got = warp(image[None], matrix, image_px=image_px)[0]
    want = center_crop(torch.from_numpy(image).permute(2, 0, 1), [image_px]).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(got, want)


def test_a_zoom_magnifies_within_its_bounds_and_leaves_turns_and_flips_as_they_were():
    def drawn(zoom: float) -> np.ndarray:
        rng = np.random.default_rng(5)
        augmentation = Augmentation(rotation_deg=180, zoom=zoom)
        return draw_affine(400, rng, canvas_px=CANVAS, image_px=IMAGE, augmentation=augmentation)

    plain, zoomed = drawn(0.0), drawn(0.3)
    size = np.sqrt(np.abs(np.linalg.det(zoomed[:, :, :2])))  # pixels of the canvas for one of the output
    assert 0.74 <= size.min() < 0.78
    assert 1.30 < size.max() <= 1.35
    np.testing.assert_allclose(zoomed[:, :, :2] / size[:, None, None], plain[:, :, :2], atol=1e-9)
    middle = np.array([(IMAGE - 1) / 2, (IMAGE - 1) / 2, 1.0])
    np.testing.assert_allclose(zoomed @ middle, plain @ middle, atol=1e-9)  # about the centre
