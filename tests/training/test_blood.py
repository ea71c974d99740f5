"""Answers lean to what is common in blood exactly as far as the recipe says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hemoscope.differential.reference import read_reference
from hemoscope.training.blood import PERCENT, RARE, lean
from hemoscope.training.objective import Objective

PBC = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")


def test_the_shares_are_those_of_the_reference_table():
    table = read_reference().classes
    for name in PBC:
        low, high = table[name].percent or (0.0, 0.0)
        assert max(RARE, (low + high) / 2) == PERCENT.get(name, RARE), name


@pytest.mark.parametrize("power", [0.0, 0.25, 1.0])
def test_where_an_image_says_nothing_answers_are_the_shares_to_that_power(power: float):
    """Classes drawn alike, one image for all: what is learnt is the prior, and nothing else."""
    leant = torch.from_numpy(lean(PBC, power)).float()
    logits = torch.zeros(8, requires_grad=True)
    objective, target = Objective(lean=leant), torch.arange(8)
    optimizer = torch.optim.SGD([logits], lr=4.0)
    for _ in range(300):
        optimizer.zero_grad()
        objective.loss(logits.expand(8, 8), target, None)[0].backward()
        optimizer.step()
    shares = np.array([PERCENT.get(name, RARE) for name in PBC]) ** power
    np.testing.assert_allclose(logits.softmax(dim=0).detach(), shares / shares.sum(), atol=1e-5)


def test_other_names_are_understood_and_what_is_no_blood_leans_nowhere():
    assert lean(["Segmented neutrophils", "LYT"], 1.0)[0] > 0
    for unknown in (["blue", "green"], ["Neutrophile", "Lymphozyten", "Monozyten"], ["neutrophil", "blast"]):
        assert (lean(unknown, 1.0) == 0).all()


def test_classes_of_one_meaning_have_its_share_together():
    one, split = lean(["LYT", "neutrophil"], 1.0), lean(["LYT", "band", "seg"], 1.0)
    assert np.exp(split[1:] - split[0]).sum() == pytest.approx(np.exp(one[1] - one[0]))
