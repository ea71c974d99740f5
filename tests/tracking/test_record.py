"""What is told of a run folder is what lies in it, and nothing is written there."""

from __future__ import annotations

import csv
import json

import pytest

from hemoscope.errors import RunError
from hemoscope.evaluation.summary import score
from hemoscope.runs import CARD, EVALUATED, HISTORY, Run
from hemoscope.tracking.record import has_begun, record_of
from tests.tracking.conftest import EPOCHS, Training


def test_curves_are_the_columns_of_the_history(training: Training):
    record = record_of(training.at(3))
    with (training.folder / HISTORY).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = {(name, int(r["epoch"]), float(r[name])) for r in rows for name in r if name != "epoch"}
    assert {(p.name, p.epoch, p.value) for p in record.points} == wanted
    assert len(record.points) == 3 * 6
    assert record.state == "running"
    assert not record.files
    assert not record.weights


def test_a_finished_run_has_the_figures_of_its_test_side_and_its_files(training: Training):
    run = training.at(EPOCHS, done=True)
    record = record_of(run)
    told = {p.name: p.value for p in record.points if p.name.startswith("test/")}
    scores = score(run.predictions("test"))
    assert told["test/accuracy"] == scores.accuracy
    assert (told["test/accuracy_low"], told["test/accuracy_high"]) == scores.accuracy_ci
    assert (told["test/n"], told["test/errors"]) == (15, scores.errors)
    assert told["test/macro/sensitivity"] == scores.macro.sensitivity
    assert told["test/lymphocyte/precision"] == scores.precision.value[2]
    assert told["test/blast _28atypical_29/specificity"] == scores.specificity.value[1]
    assert {p.epoch for p in record.points if p.name in told} == {EPOCHS}
    assert set(record.files) == {"run.json", "history.csv", "predictions.parquet"}
    assert set(record.weights) == {"model.safetensors"}
    assert record.state == "done"


def test_settings_are_the_recipe_and_facts_say_where_it_comes_from(training: Training):
    record = record_of(training.at(1))
    assert record.settings == {
        "arch": "resnet18",
        "seed": 0,
        "name": "paper",
        "epochs": EPOCHS,
        "batch_size": 32,
        "lr": 0.001,
        "hflip": True,
        "weights": "none",
    }
    facts = record.facts
    assert facts["hemoscope.run"] == training.folder.name
    assert facts["hemoscope.digest"] == "0" * 64
    assert facts["hemoscope.split.digest"]
    assert facts["hemoscope.weights.sha256"] == "2" * 64
    assert facts["hemoscope.machine.device"] == "cpu"
    assert facts["hemoscope.versions.torch"] == "2.11.0"
    assert record.identity.items() <= facts.items()
    assert all(isinstance(value, str) and value for value in facts.values())


def test_a_run_that_goes_on_is_the_same_and_one_begun_anew_another(training: Training):
    first = record_of(training.at(2)).identity
    assert record_of(training.at(4)).identity == first
    assert record_of(training.at(EPOCHS, done=True)).identity == first
    assert record_of(training.at(1, began="01-03")).identity != first


def test_answers_to_other_images_are_another_run_than_the_one_that_gave_them(training: Training):
    trained = record_of(training.at(EPOCHS, done=True)).identity
    card = json.loads((training.folder / CARD).read_text("utf-8"))
    told = []
    for digest in ("a" * 64, "b" * 64):
        card["split"] = {"digest": digest, "policy": EVALUATED, "seed": None}
        (training.folder / CARD).write_text(json.dumps(card))
        told.append(record_of(Run.open(training.folder)).identity)
    assert trained != told[0] != told[1]


def test_a_run_that_failed_says_why(training: Training):
    record = record_of(training.at(1, failed="the loss is no number"))
    assert record.state == "failed"
    assert record.facts["hemoscope.reason"] == "the loss is no number"


def test_a_damaged_folder_is_refused(training: Training):
    run = training.at(2)
    (training.folder / HISTORY).write_text("epoch,lr\n1,zero\n")
    with pytest.raises(RunError, match="is damaged"):
        record_of(run)
    training.at(2)
    text = (training.folder / CARD).read_text("utf-8")
    (training.folder / CARD).write_text(text.replace("2026-01-02T03:04:05+00:00", "yesterday"))
    with pytest.raises(RunError, match="started_at"):
        record_of(type(run).open(training.folder))
    (training.folder / CARD).write_text('{"status": "failed", "reason": "no weights"}')
    assert not has_begun(type(run).open(training.folder))


def test_nothing_is_written_into_the_folder(training: Training):
    run = training.at(EPOCHS, done=True)
    before = {path.name: path.stat().st_mtime_ns for path in training.folder.iterdir()}
    record_of(run)
    assert {path.name: path.stat().st_mtime_ns for path in training.folder.iterdir()} == before
