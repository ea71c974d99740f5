"""What a heatmap has to beat, tried where the answer is known: a network that looks at one patch only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from hemoscope.inference.explain import explain_pixels, randomised
from hemoscope.inference.network import Network, load_run
from hemoscope.inference.nulls import NULLS, Trial, blobs, claims, examine, mean_trial
from hemoscope.inference.road import impute, road
from hemoscope.models.build import build
from hemoscope.runs import Run
from hemoscope.training.device import Device

pytest.importorskip("pytorch_grad_cam", reason="the extra `explain` is not installed")

SIDE = 48
PATCH = np.s_[4:16, 30:44]  # far from the middle


class LooksAtThePatch(nn.Module):
    """Its class hangs on the red of `PATCH`, and on nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[2.0], [-2.0]]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (N, 2)."""
        return self.head((images[:, 0] - images[:, 2])[:, PATCH[0], PATCH[1]].mean(dim=(1, 2))[:, None])


class LooksEverywhere(LooksAtThePatch):
    """The same without any place."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (N, 2)."""
        return self.head((images[:, 0] - images[:, 2]).mean(dim=(1, 2))[:, None])


def network_of(model: nn.Module) -> Network:
    device = Device(torch.device("cpu"), "fp32")
    return Network(model.eval(), ("red", "blue"), SIDE, SIDE, "edge", "center_crop", device, "head")


def picture(seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(90, 160, (SIDE, SIDE, 3)).astype(np.float32), (0, 0), 2)
    image[PATCH] = (230, 120, 40)
    return image.astype(np.uint8)


def truth() -> NDArray[np.float64]:
    heat = np.zeros((SIDE, SIDE))
    heat[PATCH] = 1
    return heat


def elsewhere(seed: int) -> NDArray[np.float64]:
    coarse = np.random.default_rng(seed).random((4, 4))
    return np.roll(truth(), SIDE // 2, 1) + cv2.resize(coarse, (SIDE, SIDE))


def tried(heat: NDArray[np.float64], model: nn.Module | None = None) -> Trial:
    return examine(
        network_of(model or LooksAtThePatch()),
        picture(),
        heat,
        elsewhere(1),
        [elsewhere(2), elsewhere(3)],
        0,
        rng=np.random.default_rng(0),
    )


def test_the_map_of_what_decides_says_more_than_every_null():
    trial = tried(truth())
    assert all(trial.more_than(null) for null in NULLS)
    assert trial.in_words() == (
        "says more than a blob in the middle, the map of another image and "
        "the map of the same network with random weights"
    )


@pytest.mark.parametrize("which", range(5))
def test_a_blob_in_the_middle_earns_no_claim_given_as_the_map_of_an_image(which: int):
    trial = tried(blobs(SIDE)[which])
    assert trial.score <= trial.blob
    assert trial.more_than("blob") is False
    assert "no more than" in trial.in_words()


@pytest.mark.parametrize("width", [0.1, 0.6])
def test_nor_does_a_narrower_or_a_wider_blob(width: float):
    line = np.exp(-0.5 * ((np.arange(SIDE) - (SIDE - 1) / 2) / (width * SIDE)) ** 2)
    trial = tried(np.outer(line, line))
    assert trial.more_than("blob") is False


def test_the_map_of_random_weights_and_that_of_another_image_earn_no_claim():
    assert tried(elsewhere(1)).more_than("randomised") is False
    trial = tried(elsewhere(2))
    assert trial.more_than("other") is False or trial.score <= trial.other + 0.05
    assert tried(-truth()).in_words() == "says no more than a random order"


def test_where_the_network_has_no_place_a_map_of_one_place_says_nothing():
    assert "no more than" in tried(truth(), LooksEverywhere()).in_words()


def test_a_network_that_learnt_passes_and_with_random_weights_its_maps_do_not(runs: list[Run], discs: Path):
    """Discs of colour beside the middle: the trained ResNet-18 finds them, the randomised one cannot."""
    trained = load_run(runs[1], device_name="cpu", precision="fp32")
    drawn = randomised(trained, "resnet18", seed=1)
    side = trained.image_px
    images, targets = [], []
    for c, name in enumerate(trained.classes):
        for i in range(4):
            with Image.open(discs / name / f"{i:02d}.png") as picture:
                images.append(np.asarray(picture.convert("RGB").resize((side, side))))
            targets.append(c)
    pixels, target = np.stack(images), np.array(targets)
    maps = explain_pixels(trained, "resnet18", pixels, target)
    random_maps = explain_pixels(drawn, "resnet18", pixels, target)
    scores = np.array(
        [
            road(trained, pixels[i], np.stack([maps[i], random_maps[i]]), c, rng=np.random.default_rng(i))
            for i, c in enumerate(target)
        ]
    )
    assert scores[:, 0].mean() > scores[:, 1].mean() + 0.05
    # Random weights give a map that, tried against itself as the null, can never say more.
    trial = examine(
        trained, pixels[0], random_maps[0], random_maps[0], [], int(target[0]), rng=np.random.default_rng(0)
    )
    assert trial.more_than("randomised") is False
    assert trial.similarity == pytest.approx(1)


@pytest.mark.parametrize("part", [0.2, 0.8])
def test_what_is_gone_becomes_the_mean_of_its_neighbours_as_the_authors_solve_it(part: float):
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    image = picture()
    field = cv2.resize(np.random.default_rng(0).random((6, 6)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    gone = field > np.quantile(field, 1 - part)
    want = NoisyLinearImputer(noise=0)(
        torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)),
        torch.from_numpy((~gone).astype(np.float32)),
    )
    got = impute(image, np.stack([gone, ~gone]))[0]
    np.testing.assert_array_equal(got[~gone], image[~gone])
    away = np.abs(got - want.numpy().transpose(1, 2, 0))[gone]
    assert away.mean() < 0.5
    assert away.max() < 3


def test_a_random_order_scores_nothing_on_average_and_equal_maps_score_alike():
    network = network_of(LooksAtThePatch())
    noise = np.random.default_rng(0).random((24, SIDE, SIDE))
    scores = road(network, picture(), noise, 0, rng=np.random.default_rng(0))
    assert abs(scores.mean()) < 0.02
    same = road(network, picture(), np.stack([truth(), 5 * truth()]), 0, rng=np.random.default_rng(0))
    assert same[0] == same[1]


def test_together_maps_claim_only_what_holds_over_images():
    some = Trial(score=0.4, blob=0.1, other=0.2, randomised=-0.3, similarity=0.0)
    better = claims([some] * 6)
    assert [(claim.null, claim.more, claim.asked) for claim in better] == [(null, 6, 6) for null in NULLS]
    assert [claim.mean for claim in better] == pytest.approx([0.3, 0.2, 0.4])  # below 0 counts as 0
    assert "together they say more: by 0.30" in better[0].in_words()
    mixed = claims([some, replace(some, score=-0.3)] * 4)
    assert "together they say no more" in mixed[0].in_words()
    few = claims([some] * 4)
    assert few[0].in_words() == (
        "4 of 4 maps say more than a blob in the middle; fewer than 5 images say nothing together"
    )


def test_an_empty_map_and_a_missing_null_say_so():
    alone = Trial(score=0.4, blob=0.1, other=float("nan"), randomised=0.0, similarity=0.0)
    assert alone.more_than("other") is None
    assert "another image" not in alone.in_words()
    assert [claim.null for claim in claims([alone])] == ["blob", "randomised"]
    empty = tried(np.zeros((SIDE, SIDE)))
    assert empty.in_words() == "empty: nothing spoke for the class"
    assert not any(empty.more_than(null) for null in NULLS)
    assert mean_trial([alone, replace(alone, score=0.2)]).score == pytest.approx(0.3)


def test_random_weights_have_the_form_of_the_head():
    model = build("alexnet", 2, head="single_layer", seed=0)
    drawn = randomised(network_of(model), "alexnet", head="single_layer", seed=1).model
    assert {n: p.shape for n, p in drawn.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }
