import itertools
import json

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.stats import binomtest

from hemoscope import paper
from hemoscope.encoding import json_text
from hemoscope.errors import ShapeError
from hemoscope.evaluation.summary import confusion_of, score, score_counts
from hemoscope.records import Predictions

IG, LYMPHOCYTE, MONOCYTE, NEUTROPHIL = (
    paper.CLASSES.index(name) for name in ("ig", "lymphocyte", "monocyte", "neutrophil")
)


def predictions(target, pred, classes):
    n, c = len(target), len(classes)
    return Predictions(
        classes=tuple(classes),
        paths=tuple(f"{i:03}.jpg" for i in range(n)),
        target=np.array(target, dtype=np.int64),
        probs=np.full((n, c), 1 / c),
        pred=np.array(pred, dtype=np.int64),
    )


def ensembles_the_text_allows():
    """Every confusion matrix with the paper's diagonal and its five neutrophils taken for `ig`.

    The text leaves open where three `ig`, one lymphocyte and one monocyte went.
    """
    known = np.diag(paper.ENSEMBLE_CORRECT)
    known[NEUTROPHIL, IG] = paper.ENSEMBLE_NEUTROPHILS_AS_IG
    others = [[c for c in range(8) if c != true] for true in range(8)]
    for igs, lymphocyte, monocyte in itertools.product(
        itertools.combinations_with_replacement(others[IG], 3), others[LYMPHOCYTE], others[MONOCYTE]
    ):
        confusion = known.copy()
        for c in igs:
            confusion[IG, c] += 1
        confusion[LYMPHOCYTE, lymphocyte] += 1
        confusion[MONOCYTE, monocyte] += 1
        yield confusion


def test_the_paper_s_ensemble_comes_out_whatever_the_text_leaves_open():
    confusion = next(ensembles_the_text_allows())
    scores = score_counts(confusion, classes=paper.CLASSES)
    assert (scores.n, scores.errors) == (2_056, 10)
    assert tuple(scores.support) == paper.TEST_SUPPORT
    assert round(100 * scores.accuracy, 2) == 99.51
    assert [round(100 * bound, 2) for bound in scores.accuracy_ci] == [99.11, 99.74]
    assert tuple((100 * scores.sensitivity.value).round(2)) == paper.ENSEMBLE_SENSITIVITY
    assert round(100 * scores.macro.sensitivity, 2) == 99.58
    assert round(100 * scores.macro.specificity, 2) == 99.93


def test_the_paper_s_ensemble_precision_is_one_the_text_allows():
    published = paper.TABLE_3[-1]
    fits = []
    for confusion in ensembles_the_text_allows():
        columns = confusion.sum(axis=0)
        if round(100 * float(np.mean(np.diagonal(confusion) / columns)), 2) == published.precision:
            fits.append(confusion)
    assert len(fits) == 178  # of 4,116
    for confusion in fits[::20]:
        macro = score_counts(confusion, classes=paper.CLASSES).macro
        assert round(100 * macro.precision, 2) == published.precision
        assert round(100 * macro.specificity, 2) == published.specificity
        assert round(100 * macro.sensitivity, 2) == published.sensitivity
        assert confusion[:, IG].sum() - confusion[IG, IG] in (5, 6)


@pytest.mark.parametrize("arch", paper.ENSEMBLE_MEMBERS)
def test_table_3_sensitivity_is_the_mean_over_table_2_s_classes(arch):
    row = paper.classwise_accuracy(arch)
    assert row is not None
    confusion = np.diag(row.correct)
    for c, missed in enumerate(np.subtract(paper.TEST_SUPPORT, row.correct)):
        confusion[c, (c + 1) % 8] += missed  # where they went does not matter to sensitivity
    scores = score_counts(confusion, classes=paper.CLASSES)
    published = next(r for r in paper.TABLE_3 if r.method == arch)
    assert round(100 * scores.macro.sensitivity, 2) == published.sensitivity
    assert round(100 * scores.accuracy, 2) == published.accuracy
    assert tuple(scores.sensitivity.value.round(4)) == row.classes


def test_pred_decides_and_probabilities_play_no_part():
    scores = score(predictions([0, 0, 1], [0, 1, 1], ["ig", "platelet"]))
    assert scores.confusion.tolist() == [[1, 1], [0, 1]]
    assert scores.errors == 1


def test_every_rate_lies_in_its_interval():
    rng = np.random.default_rng(0)
    scores = score_counts(rng.integers(0, 30, (6, 6)), classes=list("abcdef"))
    for rates in (scores.precision, scores.sensitivity, scores.specificity):
        assert (rates.low <= rates.value).all()
        assert (rates.value <= rates.high).all()
        assert (rates.high - rates.low > 0).all()


def test_intervals_narrow_with_the_images_behind_each_rate():
    confusion = np.array([[90, 10], [100, 900]])
    scores = score_counts(confusion, classes=["few", "many"])
    width = scores.sensitivity.high - scores.sensitivity.low
    assert width[0] > 2 * width[1]  # the same 0.9 of 100 and of 1,000 images
    width = scores.specificity.high - scores.specificity.low
    assert width[1] > 2 * width[0]  # one's negatives are the other's images


def test_json_has_the_documented_keys_with_plain_numbers():
    document = score(predictions([0, 0, 1, 1], [0, 1, 1, 1], ["ig", "platelet"])).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) >= {"n", "errors", "accuracy", "accuracy_ci", "macro", "classes"}
    assert (document["n"], document["errors"], document["accuracy"]) == (4, 1, 0.75)
    assert document["accuracy_ci"] == pytest.approx(list(binomtest(3, 4).proportion_ci(method="wilson")))
    assert document["macro"] == pytest.approx({"precision": 5 / 6, "sensitivity": 0.75, "specificity": 0.75})
    assert list(document["classes"]) == ["ig", "platelet"]
    platelet = document["classes"]["platelet"]
    assert platelet["precision"] == pytest.approx(2 / 3)
    assert (platelet["sensitivity"], platelet["specificity"], platelet["support"]) == (1.0, 0.5, 2)
    assert platelet["precision_ci"] == pytest.approx(list(binomtest(2, 3).proportion_ci(method="wilson")))
    assert set(platelet) >= {"sensitivity_ci", "specificity_ci"}
    assert document["confusion"] == [[1, 1], [0, 2]]


@pytest.mark.parametrize("n_classes", [2, 100, 101, 1000])
def test_counts_come_back_from_json_and_take_no_more_than_the_images_where_there_are_many_classes(n_classes):
    rng = np.random.default_rng(n_classes)
    target, pred = rng.integers(0, n_classes, (2, 3000))
    scores = score(predictions(target, pred, [f"class {c}" for c in range(n_classes)]))
    text = json_text(scores.to_json()["confusion"])
    assert len(text.splitlines()) <= 102
    document = json.loads(json_text(scores.to_json()))
    np.testing.assert_array_equal(confusion_of(document), scores.confusion)
    assert isinstance(document["confusion"], list) == (n_classes <= 100)


def test_undefined_becomes_null_in_json_and_never_zero():
    document = score(predictions([0, 0], [0, 0], ["ig", "platelet", "monocyte"])).to_json()
    json.dumps(document, allow_nan=False)
    platelet = document["classes"]["platelet"]
    assert platelet["precision"] is None
    assert platelet["sensitivity"] is None
    assert platelet["sensitivity_ci"] == [None, None]
    assert platelet["specificity"] == 1.0
    assert document["classes"]["ig"]["specificity"] is None
    assert document["macro"] == {"precision": 1.0, "sensitivity": 1.0, "specificity": None}
    assert document["without_images"] == ["platelet", "monocyte"]
    assert document["accuracy"] == 1.0


def test_the_means_are_those_of_scikit_learn_over_the_classes_that_have_images():
    rng = np.random.default_rng(0)
    target, pred = rng.choice([0, 2, 3], 200), rng.choice([0, 1, 3, 4], 200)  # 2 is there and never said
    scores = score(predictions(target, pred, ["a", "b", "c", "d", "e"]))
    there = {"labels": [0, 2, 3], "average": "macro", "zero_division": 0}
    assert scores.macro.sensitivity == pytest.approx(sk.recall_score(target, pred, **there))
    assert scores.macro.precision == pytest.approx(sk.precision_score(target, pred, **there))
    assert scores.without_images == ("b", "e")


def test_no_images_score_as_unknown():
    document = score(predictions([], [], ["ig", "platelet"])).to_json()
    assert (document["n"], document["errors"], document["accuracy"]) == (0, 0, None)
    assert document["accuracy_ci"] == [None, None]


def test_class_names_must_fit_the_counts():
    with pytest.raises(ShapeError, match="2 rows of counts need 2 class names; got 1"):
        score_counts(np.eye(2, dtype=int), classes=["ig"])


def test_a_record_keeps_its_counts_when_the_caller_s_array_changes():
    confusion = np.eye(2, dtype=np.int64)
    scores = score_counts(confusion, classes=["ig", "platelet"])
    confusion[0, 1] = 9
    assert scores.n == 2
