"""What a heatmap has to beat, tried where the answer is known: a network that looks at one patch only."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hemoscope.explain.gradcam import randomised
from hemoscope.explain.nulls import NULLS, Trial, blobs, claims, examine, mean_trial
from hemoscope.explain.road import impute, road
from hemoscope.models.build import build
from hemoscope.models.normalise import Normalise
from hemoscope.predict.network import Network
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


def tried(heat: NDArray[np.float64]) -> Trial:
    return examine(
        network_of(LooksAtThePatch()),
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
    assert tried(elsewhere(1)).similarity == pytest.approx(1)
    assert tried(-elsewhere(1)).similarity == pytest.approx(-1)
    trial = tried(elsewhere(2))
    assert trial.more_than("other") is False or trial.score <= trial.other + 0.05
    assert tried(-truth()).in_words() == "says no more than a random order"


class FindsRed(nn.Module):
    """A layer of colours, and a class that hangs on how much red there is, wherever it is."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            self.colours, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
        if seed is None:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.zero_()
                self.colours.weight[0, :, 0, 0] = torch.tensor([1.0, 0.0, -1.0])
                self.head.weight[:, 0] = torch.tensor([8.0, -8.0])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (N, 2)."""
        return self.head(self.colours(images).relu().mean(dim=(2, 3)))

    def heat(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Grad-CAM of class 0 by its definition: the head is linear, so its weights are the gradient."""
        with torch.no_grad():
            pixels = Normalise(torch.device("cpu"))(torch.from_numpy(image[None]))
            maps = self.colours(pixels).relu() * self.head.weight[0][:, None, None]
            return maps.sum(dim=1).relu()[0].double().numpy()


def test_the_map_of_what_was_learnt_passes_and_maps_of_random_weights_fail():
    network = network_of(FindsRed())
    learnt, random = [], []
    for seed in range(1, 13):
        image = picture(seed)
        first, second = FindsRed(seed).heat(image), FindsRed(seed + 100).heat(image)
        for trials, heat in ((learnt, FindsRed().heat(image)), (random, first)):
            rng = np.random.default_rng(seed)
            trials.append(examine(network, image, heat, second, [elsewhere(seed)], 0, rng=rng))
    assert all(claim.low > 0 for claim in claims(learnt)), learnt
    assert not any(claim.low > 0 for claim in claims(random)), random
    assert sum(trial.more_than("randomised") is True for trial in random) <= len(random) / 2


@pytest.mark.parametrize("part", [0.2, 0.8])
def test_what_is_gone_becomes_the_mean_of_its_neighbours_as_the_authors_solve_it(part: float):
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer, neighbors_weights
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import spsolve

    image = picture()
    field = cv2.resize(np.random.default_rng(0).random((6, 6)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    gone = field > np.quantile(field, 1 - part)
    known = (~gone).astype(np.float32)
    system, right = NoisyLinearImputer.setup_sparse_system(
        known, image.transpose(2, 0, 1).astype(np.float64), neighbors_weights
    )
    want = spsolve(csc_matrix(system), right)
    got = impute(image, np.stack([gone, ~gone]))[0]
    np.testing.assert_array_equal(got[~gone], image[~gone])
    away = np.abs(got[gone] - want)
    assert away.mean() < 0.5
    assert away.max() < 5


def test_an_order_turned_round_has_the_opposite_score_so_a_random_one_has_none_and_equal_maps_score_alike():
    network = network_of(LooksAtThePatch())
    noise = np.random.default_rng(0).random((4, SIDE, SIDE))
    there, back = (
        road(network, picture(), maps, 0, rng=np.random.default_rng(0)) for maps in (noise, 1 - noise)
    )
    np.testing.assert_allclose(there, -back, atol=1e-6)
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
    little = claims([replace(some, score=0.12)] * 6)  # a gain that is sure, and too small to matter
    assert "together they say hardly more" in little[0].in_words()
    few = claims([some] * 4)
    assert few[0].in_words() == (
        "4 of 4 maps say more than a blob in the middle; fewer than 5 images say nothing together"
    )


def test_a_flat_map_and_a_missing_null_say_so():
    alone = Trial(score=0.4, blob=0.1, other=float("nan"), randomised=0.0, similarity=0.0)
    assert alone.more_than("other") is None
    assert "another image" not in alone.in_words()
    assert [claim.null for claim in claims([alone])] == ["blob", "randomised"]
    flat = tried(np.zeros((SIDE, SIDE)))
    assert flat.in_words() == "is flat: it points nowhere"
    assert not any(flat.more_than(null) for null in NULLS)
    assert mean_trial([alone, replace(alone, score=0.2)]).score == pytest.approx(0.3)


def test_random_weights_have_the_form_of_the_head():
    model = build("alexnet", 2, head="single_layer", seed=0)
    drawn = randomised(network_of(model), "alexnet", head="single_layer", seed=1).model
    assert {n: p.shape for n, p in drawn.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }
