"""Members chosen on one half of the validation images leave the other for thresholds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hemoscope.ensemble.halves import halves
from hemoscope.ensemble.members import assemble
from hemoscope.predictions_file import read_predictions
from hemoscope.runs import PREDICTIONS, write_predictions

ARCHS = ("alexnet", "vgg11", "resnet18", "resnet50", "squeezenet1_1", "mobilenet_v2")


def test_the_halves_share_no_image_and_split_every_class():
    target = np.repeat([0, 1, 2], [7, 100, 1])
    np.random.default_rng(1).shuffle(target)
    first, second = halves(target)
    assert sorted([*first, *second]) == list(range(len(target)))
    assert np.bincount(target[first], minlength=3).tolist() == [4, 50, 1]
    assert np.bincount(target[second], minlength=3).tolist() == [3, 50, 0]
    again = halves(target.copy())
    assert all((a == b).all() for a, b in zip((first, second), again, strict=True))


def test_the_half_that_is_left_has_no_say_in_who_answers(runs):
    for seed, arch in enumerate(ARCHS):
        runs.add(arch, seed=seed, error_rate=0.02 + 0.001 * seed)
    before = assemble(runs.root, leave_half=True)
    assert before.by_half
    val = before.entries[0].val
    whole = assemble(runs.root)
    assert not whole.by_half
    first, second = halves(whole.entries[0].val.target)
    assert val.paths == tuple(whole.entries[0].val.paths[i] for i in first)
    chosen = {entry.name for entry in before.voters}
    for entry in whole.entries:  # every right answer of the other half becomes wrong, for the chosen alone
        if entry.name in chosen:
            sides = read_predictions(entry.path / PREDICTIONS, entry.val.classes)
            pred = sides["val"].pred.copy()
            pred[second] = (sides["val"].target[second] + 1) % len(sides["val"].classes)
            probs = sides["val"].probs.copy()
            probs[second] = np.eye(probs.shape[1])[pred[second]]
            write_predictions(
                entry.path / PREDICTIONS, sides | {"val": replace(sides["val"], pred=pred, probs=probs)}
            )
    assert {entry.name for entry in assemble(runs.root, leave_half=True).voters} == chosen
    assert {entry.name for entry in assemble(runs.root).voters} != chosen


def test_where_nothing_is_chosen_no_image_is_left_aside(runs):
    for seed, arch in enumerate(ARCHS[:4]):
        runs.add(arch, seed=seed)
    for members in ("auto", "top", "vgg11,alexnet", "vgg11"):
        assert not assemble(runs.root, members=members, leave_half=True).by_half
    assert assemble(runs.root, members="greedy", leave_half=True).by_half


def test_one_run_that_is_named_answers_and_not_the_best(runs):
    runs.add("alexnet", error_rate=0.001)
    worse = runs.add("vgg11", error_rate=0.2)
    found = assemble(runs.root, members="vgg11")
    assert [entry.path for entry in found.voters] == [worse]
    assert found.best.path != worse
