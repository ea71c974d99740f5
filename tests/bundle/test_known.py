"""The distance to the nearest known cell: what it is, which cells are remembered, who is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hemoscope.bundle.known import choose, distances, left_out
from hemoscope.models.build import Head, head_path, skeleton
from hemoscope.models.registry import arch_names, get_arch
from hemoscope.predict.model import Model
from hemoscope.predict.network import ask


def unit(n: int, width: int = 16, seed: int = 0) -> torch.Tensor:
    features = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return features / features.norm(dim=1, keepdim=True)


def test_the_distance_is_that_of_a_search_one_by_one():
    features, known = unit(20), unit(7, seed=1)
    got = distances(features, known)
    want = [min(1 - float(f @ k) for k in known) for f in features]
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert distances(features, None).isnan().all()
    torch.testing.assert_close(distances(known, known), torch.zeros(7), atol=1e-6, rtol=0)


def test_a_remembered_cell_is_compared_with_the_others_only():
    known, turned = unit(9), unit(9, seed=1)
    for features in (known, turned):
        got = left_out(features, known)
        for i in range(9):
            others = known[torch.arange(9) != i]
            assert float(got[i]) == pytest.approx(float(distances(features[i : i + 1], others)), abs=1e-6)


def test_at_most_so_many_a_class_and_all_of_a_small_one_are_remembered():
    target = np.array([0] * 50 + [1] * 3 + [3] * 10)
    rows = choose(target, per_class=8)
    assert np.bincount(target[rows]).tolist() == [8, 3, 0, 8]
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, choose(target, per_class=8))
    assert rows.tolist() != choose(target, per_class=8, seed=1).tolist()


@pytest.mark.parametrize("head", ["replace_last", "single_layer"])
@pytest.mark.parametrize("arch", arch_names())
def test_the_head_of_every_architecture_is_given_one_row_an_image(arch: str, head: Head):
    row = get_arch(arch)
    path = head_path(row, head)
    model = skeleton(arch, 3, head=head).eval()
    layer = model.get_submodule(path)
    width = layer.in_features if isinstance(layer, torch.nn.Linear) else layer.in_channels
    logits, features = ask(model, path, torch.empty(2, 3, row.input_px, row.input_px, device="meta"))
    assert logits.shape == (2, 3)
    assert features.shape == (2, width)


def test_noise_is_further_from_the_discs_than_discs_are(model: Model, misfiled):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (60, 60, 3), dtype=np.uint8) for _ in range(12)]
    cells = [verdict.distance for verdict in model.judge(sorted(misfiled.rglob("*.png"))[:30])]
    assert np.mean([v.distance for v in model.judge(noise)]) > np.mean(cells)
