"""What recipes may do beyond the paper: rates a step, small images first, eight views. The rest is compared with
plain torch in `test_fit_reference`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from hemoscope.data.augment import Augmentation, draw_affine, scaled, view_affine, warp
from hemoscope.data.canvas import open_canvas
from hemoscope.errors import ConfigError
from hemoscope.models.build import build, head_paths, load_state
from hemoscope.models.registry import get_arch
from hemoscope.predict.evaluate import predict_labelled, scanned
from hemoscope.predict.scorable import a_run
from hemoscope.training.batches import Batches
from hemoscope.training.device import Device
from hemoscope.training.job import RULES
from hemoscope.training.objective import Objective
from hemoscope.training.rates import make_optimizer
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
    assert run.history[-1].train_loss < run.history[0].train_loss
    said = run.predictions("val")
    assert said.n_errors / len(said) < 0.5  # of three classes
    canvas = open_canvas(prepared.manifest, round(40 * 256 / 224))
    batches = Batches(canvas, 40, "black", CPU.torch_device)
    model = load_state("resnet18", 3, load_file(run.path / "model.safetensors"))
    rows = canvas.rows(list(said.paths))
    kept = predict_probs(model, batches, rows, device=CPU, view="center_crop", turned=True)
    np.testing.assert_allclose(said.probs, kept, atol=1e-6)
    again = predict_labelled(a_run(run, device="cpu"), scanned(prepared.manifest.root)).predictions
    where = [again.paths.index(path) for path in said.paths]
    np.testing.assert_allclose(again.probs[where], said.probs, atol=1e-5)


def test_of_mixed_images_the_class_with_the_larger_share_counts():
    objective = Objective(mixup=0.4)
    logits, target = torch.eye(3)[[0, 1, 2]], torch.tensor([0, 1, 2])
    assert objective.right(logits, target, torch.tensor(0.3)) == 3
    assert objective.right(logits, target, torch.tensor(0.7)) == 1  # the one in the middle meets itself
    assert objective.right(logits, target, None) == 3


def test_all_new_layers_learn_at_the_rate_of_the_head():
    recipe = Recipe(head_lr=10.0)
    model = build("inception_v3", 3)
    paths = head_paths(get_arch("inception_v3"), "replace_last")
    assert paths == ("fc", "AuxLogits.fc")
    heads = [model.get_submodule(path) for path in paths]
    body, new = make_optimizer(model, recipe, heads=heads, device=CPU.torch_device).param_groups
    assert (len(new["params"]), new["lr"]) == (4, 0.01)
    assert len(body["params"]) + 4 == len(list(model.parameters()))


@pytest.mark.parametrize(
    "odd",
    [
        {"small_px": 32},
        {"small_epochs": 2},
        {"small_px": 32, "small_epochs": 25},
        {"small_px": 64, "small_epochs": 2, "image_px": 64},
        {"ema": 1.0},
        {"views": 4},
        {"warmup": 0},
    ],
)
def test_what_makes_no_sense_is_refused(odd: dict[str, float]):
    with pytest.raises(ValidationError):
        Recipe.model_validate(odd)


def test_a_smaller_input_that_is_larger_than_the_networks_is_refused(prepared: Prepared, tmp_path):
    recipe = Recipe(weights="none", small_px=256, small_epochs=2)
    with pytest.raises(ConfigError, match="smaller than the input of resnet18, 224 px; got 256"):
        run_job("resnet18", recipe, prepared, seed=0, out=tmp_path, device_name="cpu")


RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.mark.parametrize("card", sorted(RESULTS.glob("*/runs/*/run.json")), ids=lambda path: path.parent.name)
def test_runs_of_older_recipes_keep_their_names(card: Path):
    """The digest of every committed run, which covers its recipe, follows from its card as today's code reads it."""
    said = json.loads(card.read_text("utf-8"))
    content = {
        "arch": said["arch"],
        "recipe": Recipe.model_validate(said["recipe"]).identity,
        "split": said["split"]["digest"],
        "classes": said["data"]["classes"],
        "seed": said["seed"],
        "weights": said["weights"].get("sha256", ""),
    }
    # The rules of decision 11 gave runs in bf16 other names; older ones keep theirs.
    if said["recipe"]["precision"] == "bf16" and said["digest"] != _digest(content):
        content["rules"] = RULES
    assert said["digest"] == _digest(content)
    assert card.parent.name.endswith(said["digest"][:8])


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
