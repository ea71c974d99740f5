"""What recipes may do beyond the paper: rates a step, small images first, eight views. The rest is compared with
plain torch in `test_fit_reference`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from hemoscope.data.augment import Augmentation, draw_affine, scaled, view_affine, warp
from hemoscope.data.canvas import open_canvas
from hemoscope.models.build import build
from hemoscope.runs import Run
from hemoscope.training.batches import Batches
from hemoscope.training.device import Device
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, run_job
from hemoscope.training.step import predict_probs

CPU = Device(torch.device("cpu"), "fp32")


def test_the_rate_rises_and_falls_to_nothing_whatever_the_epochs():
    recipe = Recipe(schedule="warm_cosine", epochs=4, warmup=0.25, lr=0.1)
    steps = 1000
    rates = np.array([recipe.lr_at(e, (s + 0.5) / steps) for e in range(1, 5) for s in range(steps)])
    assert rates.argmax() in (steps - 1, steps)
    assert rates.max() == pytest.approx(0.1, rel=1e-3)
    assert (np.diff(rates[:steps]) > 0).all()
    assert (np.diff(rates[steps:]) < 0).all()
    assert rates[0] < 1e-4
    assert rates[-1] < 1e-6


def test_a_smaller_input_shows_the_same_square():
    """A picture whose grey value is its place comes out as the place of each small pixel's centre."""
    across = np.tile(np.linspace(0, 254, 128)[None, :, None], (128, 1, 3)).round().astype(np.uint8)
    rng = np.random.default_rng(0)
    matrices = draw_affine(6, rng, canvas_px=128, image_px=96, augmentation=Augmentation())
    whole = warp([across] * 6, matrices, image_px=96, fill="edge").astype(float)
    small = warp([across] * 6, scaled(matrices, 2), image_px=48, fill="edge").astype(float)
    means = whole.reshape(6, 48, 2, 48, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - means).max() <= 1.5  # two roundings
    plain = view_affine(1, canvas_px=96, image_px=96, view="center_crop")
    assert scaled(plain, 2)[0].tolist() == [[2, 0, 0.5], [0, 2, 0.5]]


def test_eight_views_are_the_mean_of_what_is_said_of_each(prepared: Prepared):
    canvas = open_canvas(prepared.manifest, 36)
    batches = Batches(canvas, 32, "black", CPU.torch_device)
    model, rows = build("resnet18", 3, seed=1), np.arange(5)
    with torch.inference_mode():
        images = batches.images(rows, view_affine(5, canvas_px=36, image_px=32, view="center_crop"))
        views = [torch.rot90(flip, k, (2, 3)) for flip in (images, images.flip(3)) for k in range(4)]
        want = torch.stack([model.eval()(view).softmax(1) for view in views]).mean(0)
    got = predict_probs(model, batches, rows, device=CPU, view="center_crop", turned=True)
    np.testing.assert_allclose(got, want.numpy(), atol=1e-5)
    turned = predict_probs(model, batches, rows, device=CPU, view="center_crop")
    assert np.abs(got - turned).max() > 1e-4  # an untrained network does care


def test_a_run_of_all_of_it_learns_and_keeps_what_it_scored(prepared: Prepared, tmp_path):
    recipe = Recipe(
        name="best",
        weights="none",
        epochs=4,
        batch_size=16,
        lr=0.02,
        schedule="warm_cosine",
        ema=0.8,
        label_smoothing=0.1,
        image_px=40,
        small_px=32,
        small_epochs=2,
        views=8,
        precision="fp32",
    )
    run = run_job("resnet18", recipe, prepared, seed=0, out=tmp_path, device_name="cpu")
    assert isinstance(run, Run)
    assert run.history[-1].train_loss < run.history[0].train_loss
    said = run.predictions("val")
    assert said.n_errors / len(said) < 0.5  # of three classes


@pytest.mark.parametrize(
    "odd", [{"small_px": 32}, {"small_epochs": 2}, {"ema": 1.0}, {"views": 4}, {"warmup": 0}]
)
def test_what_makes_no_sense_is_refused(odd: dict[str, float]):
    with pytest.raises(ValidationError):
        Recipe.model_validate(odd)


def test_runs_of_older_recipes_keep_their_names():
    assert set(Recipe().identity) == {
        "name", "epochs", "batch_size", "lr", "lr_step", "lr_gamma", "momentum", "weight_decay", "weights", "head",
        "aux_weight", "image_px", "rotation_deg", "hflip", "vflip", "crop", "fill", "eval_view", "class_weights",
        "sampler", "select_epoch", "precision",
    }  # fmt: skip
