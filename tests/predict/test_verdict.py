"""One rule for an answer, and a card that says what the rule does: by hand, by counting, by simulation."""

from __future__ import annotations

import hashlib
import io
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hemoscope.bundle.card import Calibration
from hemoscope.bundle.known import choose, distances, left_out
from hemoscope.evaluation.calibration import apply_temperature
from hemoscope.evaluation.refusal import unknown_threshold
from hemoscope.packing.calibrate import Goals, calibrate, measure
from hemoscope.packing.pack import pack
from hemoscope.predict.model import Model, load
from hemoscope.predict.verdict import decide
from hemoscope.records import Predictions
from hemoscope.runs import Run
from hemoscope.training.scanned import scan_cached


@pytest.fixture(scope="module")
def wary(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Both networks, with about half of all known cells called unknown."""
    path = tmp_path_factory.mktemp("wary") / "wary.hemo"
    pack(runs, path, tta=True, goals=Goals(0.3, 0.7, 0.5), device_name="cpu")
    return load(path, device="cpu", precision="fp32")


@pytest.mark.parametrize("tta", [False, True])
def test_the_card_counts_what_the_model_says_of_the_test_images(
    tta: bool, wary: Model, runs: list[Run], misfiled: Path
):
    said = runs[0].predictions("test")
    verdicts = list(wary.judge([misfiled / path for path in said.paths], tta=tta))
    true = [said.classes[i] for i in said.target]
    status = Counter(verdict.status for verdict in verdicts)
    trust = wary.trust(tta=tta)
    m = trust.measured
    assert {name: m[name]["count"] for name in ("accepted", "review")} == {
        name: status[name] for name in ("accepted", "review")
    }
    assert m["called_unknown"]["count"] == status["unknown"]
    wrong = Counter(v.status for v, name in zip(verdicts, true, strict=True) if v.pred != name)
    assert m["errors_among_accepted"]["count"] == wrong["accepted"]
    assert m["errors_sent_to_review"]["count"] == wrong["review"]
    assert m["errors_called_unknown"]["count"] == wrong["unknown"]
    held = sum(name in v.candidates for v, name in zip(verdicts, true, strict=True))
    assert m["conformal_coverage"]["count"] == held
    assert m["conformal_mean_size"] == pytest.approx(np.mean([len(v.candidates) for v in verdicts]))
    # The test bites: some that are certain enough to be accepted are unknown.
    assert trust.review_below is not None
    assert status["accepted"] > 0
    assert any(v.status == "unknown" and v.probs.max() >= trust.review_below for v in verdicts)


def test_the_card_s_accuracy_is_that_of_its_own_answers(wary: Model, runs: list[Run], misfiled: Path):
    said = runs[0].predictions("test")
    names = wary.predict([misfiled / path for path in said.paths])
    wrong = int((names != np.array([said.classes[i] for i in said.target])).sum())
    assert wary.card.scores["errors"] == wrong
    assert "fp32" in wary.card.calibration.measured["answers"]


def test_the_confusion_counts_validation_images_as_a_differential_counts_them(
    wary: Model, runs: list[Run], misfiled: Path
):
    said = runs[0].predictions("val")
    for tta in (False, True):
        confusion = np.array(wary.trust(tta=tta).confusion)
        assert 0 < confusion.sum() < len(said), "images called unknown are not counted"
        assert (confusion.sum(axis=1) <= np.bincount(said.target, minlength=3)).all()


def test_packing_reads_every_test_image_once(
    runs: list[Run], misfiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scan_cached(misfiled)  # so that only packing opens images from here on
    opened: Counter[str] = Counter()
    really_open = Image.open

    def counted(file, *args, **kwargs):
        if isinstance(file, io.BytesIO):
            opened[hashlib.sha256(file.getvalue()).hexdigest()] += 1
        return really_open(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", counted)
    pack(runs[:1], tmp_path / "one.hemo", device_name="cpu")
    times = {
        path: opened[hashlib.sha256((misfiled / path).read_bytes()).hexdigest()]
        for path in runs[0].predictions("test").paths
    }
    assert set(times.values()) == {1}, times


def thresholds(**changes: object) -> Calibration:
    values = {
        "n_val": 9,
        "temperature": 1.7,
        "review_below": 0.6,
        "error_rate": 0.1,
        "conformal_score": 0.7,
        "coverage": 0.9,
        "unknown_above": 0.3,
        "unknown_share": 0.1,
        "confusion": (),
        "measured": {},
    }
    return Calibration(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{}, {"review_below": None}, {"unknown_above": None}, {"conformal_score": 0.0}]
)
def test_the_rule_is_that_of_one_image_at_a_time(changes: dict):
    rng, trust = np.random.default_rng(1), thresholds(**changes)
    probs = rng.dirichlet(np.full(4, 0.5), size=300)
    pred = np.where(rng.random(300) < 0.8, probs.argmax(axis=1), rng.integers(0, 4, 300))
    distance = rng.uniform(0, 0.5, 300)
    distance[::50] = np.nan
    got = decide(probs, pred, distance, trust)
    for i in range(300):
        p = apply_temperature(probs[i : i + 1], trust.temperature)[0]
        if trust.unknown_above is not None and not distance[i] <= trust.unknown_above:
            want = "unknown"
        elif trust.review_below is None or p[pred[i]] < trust.review_below:
            want = "review"
        else:
            want = "accepted"
        statuses = [name for name in ("accepted", "review", "unknown") if getattr(got, name)[i]]
        assert statuses == [want], i
        assert got.margin[i] == pytest.approx(p[pred[i]] - np.delete(p, pred[i]).max())
        inside = {c for c in range(4) if 1 - p[c] <= trust.conformal_score} | {int(pred[i])}
        assert set(np.flatnonzero(got.candidates[i])) == inside


# --- promises, in worlds whose truth is known -----------------------------------------------------

CLASSES = ("a", "b", "c")


def world(rng: np.random.Generator, n: int, error: float) -> tuple[Predictions, np.ndarray]:
    """Answers that err at `error`, however certain, but for the strangest: most certain, and always right."""
    distance = rng.random(n)
    certainty = 0.5 + 0.45 * distance + 0.05 * rng.random(n)
    share = rng.random(n)
    rest = (1 - certainty)[:, None] * np.stack([share, 1 - share], axis=1)
    pred = rng.integers(0, 3, n)
    probs = np.empty((n, 3))
    for c in range(3):
        here = pred == c
        probs[here, c] = certainty[here]
        probs[np.ix_(here, [k for k in range(3) if k != c])] = rest[here]
    wrong = (rng.random(n) < error) & (distance < 0.95)
    target = np.where(wrong, (pred + rng.integers(1, 3, n)) % 3, pred)
    return Predictions(CLASSES, tuple(map(str, range(n))), target, probs, pred), distance


def test_accepted_answers_keep_their_promise_though_the_surest_are_unknown():
    """A tenth is called unknown. Counted among the accepted, it would let thresholds pass that it then bars."""
    rng, n = np.random.default_rng(2), 160
    broken, kept, unknown, covered = 0, 0, [], []
    for _ in range(n):
        val, far = world(rng, 400, 0.0505)
        options = {"error_rate": 0.05, "coverage": 0.9, "unknown_share": 0.1}
        trust = calibrate(val, far, Goals(**options))
        broken += trust.review_below is not None  # whatever is accepted then errs at 0.0505
        fresh, fresh_far = world(rng, 200, 0.0505)
        m = measure(fresh, fresh_far, trust)
        unknown.append(m["called_unknown"]["rate"])
        covered.append(m["conformal_coverage"]["rate"])
        if len(covered) % 8 == 0:
            kept += calibrate(*world(rng, 400, 0.005), Goals(**options)).review_below is not None
    assert broken <= 0.05 * n + 3 * math.sqrt(n * 0.05 * 0.95)
    assert kept > 10  # of 20: where there is something to promise, it is promised
    assert np.mean(unknown) <= 0.1 + 3 * np.std(unknown) / math.sqrt(n)
    assert np.mean(covered) >= 0.9 - 3 * np.std(covered) / math.sqrt(n)


def test_cells_left_out_one_by_one_call_no_more_new_cells_unknown_than_asked():
    rng, called = np.random.default_rng(3), []

    def cells(n: int) -> tuple[np.ndarray, torch.Tensor]:
        target = rng.choice(3, size=n, p=[0.7, 0.2, 0.1])
        features = torch.from_numpy(2 * np.eye(3, 8)[target] + rng.normal(size=(n, 8)))
        return target, features / features.norm(dim=1, keepdim=True)

    for _ in range(300):
        target, val = cells(120)
        rows = choose(target, per_class=15)
        far = distances(val, val[rows])
        far[rows] = left_out(val[rows], val[rows])
        threshold = unknown_threshold(far.numpy(), share=0.1)
        called.append(float((distances(cells(200)[1], val[rows]) > threshold).double().mean()))
    assert np.mean(called) <= 0.1 + 3 * np.std(called) / math.sqrt(300)
    assert np.mean(called) > 0.05  # and it is not vain
