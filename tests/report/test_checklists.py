"""CLAIM 2024, TRIPOD+AI and the model card of a report: what a card does not hold is open, what it holds is told as it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from hemoscope.model_card import INTENDED_USE, LIMITS
from hemoscope.report.checklists import checklists
from hemoscope.report.checklists.items import GUIDELINES, read_guideline
from hemoscope.report.checklists.page import ANSWERS, judge
from hemoscope.report.collect import Report, collect
from hemoscope.report.formats import interval, markdown, percent
from hemoscope.report.model_card import model_card
from hemoscope.runs import CARD, EVALUATED, PREDICTIONS, Run, write_predictions
from hemoscope.training.recipe import Recipe

SMALL = (30, 40, 20, 25, 30, 20, 35, 25)
ITEMS = {name: read_guideline(name).items for name in GUIDELINES}
# Collins et al. 2024: these of the 27 items have subitems.
SUBITEMS = {
    3: "abc",
    5: "ab",
    6: "abc",
    8: "abc",
    9: "abc",
    12: "abcdefg",
    18: "abcdef",
    20: "abc",
    23: "ab",
    27: "abc",
}
NUMBERS = {
    "claim": [str(i) for i in range(1, 45)],
    "tripod_ai": [f"{i}{letter}" for i in range(1, 28) for letter in SUBITEMS.get(i, " ")],
}
FULL: Mapping[str, Any] = {
    "image_px": 224,
    "recipe": {**Recipe(epochs=3).model_dump(), "precision": "bf16"},
    "files": {"model.safetensors": "3" * 64, "predictions.parquet": "4" * 64},
}
FIELDS = sorted({field for answer in ANSWERS.values() for field in answer.fields})


def add(runs, arch: str = "resnet18", **card: Any) -> Path:
    folder = runs.add(arch, test=SMALL, error_rate=0.1, **{**FULL, **card})
    path = folder / CARD
    whole = json.loads(path.read_text("utf-8"))
    whole["data"] |= {"short_sides_px": [350, 366], "second_acquisition": {"ig": 151}}
    path.write_text(json.dumps(whole), "utf-8")
    del whole["files"]["predictions.parquet"]  # not the real digest
    path.write_text(json.dumps(whole), "utf-8")
    return folder


def states(report: Report) -> dict[tuple[str, str], str]:
    return {(name, item.number): judge(item, report).state for name, items in ITEMS.items() for item in items}


@pytest.fixture(scope="module")
def one(tmp_path_factory, make_runs) -> Path:
    return add(make_runs(tmp_path_factory.mktemp("checklists") / "runs"))


@pytest.fixture
def without(one: Path, tmp_path: Path):
    """The run without a field of its card."""

    def made(field: str) -> Report:
        folder = tmp_path / one.name
        folder.mkdir()
        for file in one.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        card = json.loads((folder / CARD).read_text("utf-8"))
        *path, last = field.split(".")
        part = card
        for key in path:
            part = part[key]
        del part[last]
        (folder / CARD).write_text(json.dumps(card), "utf-8")
        return collect(folder)

    return made


@pytest.mark.parametrize("name", GUIDELINES)
def test_every_item_of_the_guideline_is_there_once_and_in_order(name):
    assert [item.number for item in ITEMS[name]] == [number.strip() for number in NUMBERS[name]]


@pytest.mark.parametrize("name", GUIDELINES)
def test_the_page_gives_every_item_one_state(one: Path, name):
    sections = re.split(r"^## ", checklists(collect(one)), flags=re.MULTILINE)
    (section,) = [part for part in sections if part.startswith(read_guideline(name).name)]
    rows = re.findall(
        r"^\| (\d+[a-g]?) \|.*?\|.*?\| (filled|open|not applicable) \| (.+) \|$", section, re.MULTILINE
    )
    assert [number for number, _, _ in rows] == [number.strip() for number in NUMBERS[name]]
    assert all(text.startswith("To supply: ") == (state == "open") for _, state, text in rows)
    tally = {state: sum(s == state for _, s, _ in rows) for state in ("filled", "open", "not applicable")}
    assert ", ".join(f"{n} {state}" for state, n in tally.items()) in section
    assert min(tally["filled"], tally["open"]) > 0


def test_every_answer_is_asked_for():
    asked = {
        name for items in ITEMS.values() for item in items for name in (*item.from_run, item.unless) if name
    }
    assert asked == set(ANSWERS)


@pytest.mark.parametrize("field", FIELDS)
def test_what_a_card_does_not_hold_is_open(one: Path, without, field: str):
    whole, report = collect(one), without(field)
    before, after = states(whole), states(report)
    touched = {
        name
        for name, answer in ANSWERS.items()
        if any(f"{place}.".startswith(f"{field}.") for place in answer.fields)
    }
    assert touched
    for name, items in ITEMS.items():
        for item in items:
            key = (name, item.number)
            if not touched & set(item.from_run):
                assert after[key] == before[key], key
                continue
            assert after[key] in ("open", "not applicable"), key
            said = judge(item, report).said
            assert not any(
                (told := ANSWERS[answer].say(whole)) and told in said
                for answer in touched & set(item.from_run)
            ), key
            if before[key] == "filled":
                assert re.search(rf"run cards lack [^:]*{re.escape(field)}", judge(item, report).text), key


def test_a_bare_card_fills_only_what_the_predictions_say(runs):
    folder = runs.add("resnet18", test=SMALL, error_rate=0.1)
    card = json.loads((folder / CARD).read_text("utf-8"))
    bare = {key: card[key] for key in ("arch", "seed")}
    bare |= {"recipe": {}, "data": {"classes": card["data"]["classes"]}, "split": {"digest": "d"}}
    (folder / CARD).write_text(json.dumps(bare), "utf-8")
    filled = {key for key, state in states(collect(folder)).items() if state == "filled"}
    claim = {number for name, number in filled if name == "claim"}
    assert claim == {"28", "29", "32", "38", "39"}
    assert {number for name, number in filled if name == "tripod_ai"} == {"15"}


def test_figures_are_those_of_the_card(one: Path):
    report = collect(one)
    card = json.loads((one / CARD).read_text("utf-8"))
    said = {name: answer.say(report) or "" for name, answer in ANSWERS.items()}
    n = {side: sum(counts.values()) for side, counts in card["data"]["counts"].items()}
    assert said["counts"] == f"Images: {n['train']:,} training, {n['val']:,} validation, {n['test']:,} test."
    for name in report.data.classes:
        numbers = " / ".join(f"{card['data']['counts'][side][name]:,}" for side in ("train", "val", "test"))
        assert f"{name} {numbers}" in said["class_counts"]
    assert card["data"]["digest"] in said["data_digest"]
    assert card["split"]["digest"] in said["split"]
    assert f"seed {card['split']['seed']}" in said["split"]
    assert f"{card['parameters']:,} parameters" in said["model"]
    assert "224 x 224 px" in said["preprocessing"]
    assert "350 to 366 px" in said["image_sides"]
    assert said["second_acquisition"] == "151 images are of a second acquisition: ig 151."
    assert all(f"{package} {version}" in said["software"] for package, version in card["versions"].items())
    assert card["weights"]["sha256"] in said["weights"]
    assert card["command"] == said["commands"]
    assert "epochs 3, batch size 32, lr 0.001" in said["recipe"]
    assert "its central square is resized" in said["preprocessing"]
    assert said["files"] == f"model.safetensors SHA-256 {card['files']['model.safetensors']}."
    assert said["left_out"].startswith("No file was left out")


def test_a_run_that_frames_nuclei_says_by_what(one: Path, tmp_path: Path):
    path = tmp_path / "runs" / one.name / CARD
    shutil.copytree(one, path.parent)
    card = json.loads(path.read_text("utf-8"))
    card["data"]["nucleus_px"] = 94.3
    path.write_text(json.dumps(card), "utf-8")
    said = ANSWERS["preprocessing"].say(collect(path.parent)) or ""
    assert "the median nucleus of the training images, 94 px, takes 0.4 of the network's input" in said
    assert "square" not in said


def test_scores_are_those_of_the_predictions(one: Path):
    report, test = collect(one), Run.open(one).predictions("test")
    right = test.pred == test.target
    said = ANSWERS["performance"].say(report) or ""
    assert f"accuracy {percent(float(right.mean()))} %" in said
    assert f"{int((~right).sum())} errors in {len(right)} test images" in said
    for c, name in enumerate(test.classes):
        hit = float(right[test.target == c].mean())
        assert f"{name} {percent(hit)} (" in (ANSWERS["class_scores"].say(report) or "")
    stated = test.probs[np.arange(len(test)), test.pred]
    bins = np.clip(np.ceil(stated * 15).astype(int) - 1, 0, 14)
    gaps = [
        abs(right[bins == b].mean() - stated[bins == b].mean()) * (bins == b).mean()
        for b in set(bins.tolist())
    ]
    loss = -np.log(np.maximum(test.probs[np.arange(len(test)), test.target], 1e-15)).mean()
    assert ANSWERS["calibration"].say(report) == (
        f"Expected calibration error {sum(gaps):.4f} (15 bins), log-loss {loss:.4f}, of probabilities as they are."
    )


def test_an_ensemble_that_leads_is_told_of_with_every_member(runs):
    for arch in ("resnet18", "vgg19", "squeezenet1_1"):
        add(runs, arch)
    report = collect(runs.root, vote="soft")
    assert report.ensemble_leads
    (item,) = [item for item in ITEMS["claim"] if item.number == "27"]
    assert judge(item, report).state == "filled"
    page = checklists(report)
    for entry in report.judged_entries:
        assert markdown(entry.name) in page
    assert "a mean over the members, and the most probable class" in page
    card = model_card(report)
    assert r"# resnet18+squeezenet1\_1+vgg19: 3 networks, soft vote" in card
    assert card.count("| paper | 3 | 0 |") == 3


def test_of_one_run_an_ensemble_is_not_applicable(one: Path):
    (item,) = [item for item in ITEMS["claim"] if item.number == "27"]
    judged = judge(item, collect(one))
    assert (judged.state, judged.text) == (
        "not applicable",
        "There is one run, and an ensemble of one is that run.",
    )


def test_cells_that_were_only_scored_are_no_internal_test(runs):
    folder = add(runs)
    card = json.loads((folder / CARD).read_text("utf-8"))
    card["split"] |= {"policy": EVALUATED, "seed": None}
    new, some = {"train": 0, "val": 0, "test": 0}, {"train": 12, "val": 0, "test": 3}
    own = card["data"]["digest"]
    for digest, seen, wanted in (
        ("5" * 64, new, "of another data set than those of the training"),
        ("5" * 64, some, "images of the split of the training: 12 training, 3 test."),
        ("5" * 64, None, "which of them were in the training is not known"),
        (own, new, "of the data set of the training"),
    ):
        card["evaluated"] = {"trained_on": {"data": {"digest": digest}}, "seen_before": seen}
        (folder / CARD).write_text(json.dumps(card), "utf-8")
        report = collect(folder)
        after = states(report)
        for key in (("claim", "32"), ("tripod_ai", "12a"), ("tripod_ai", "16"), ("claim", "33")):
            assert after[key] == "open", key
        assert wanted in checklists(report)


def test_a_given_split_is_not_called_chance(runs):
    folder = add(runs)
    card = json.loads((folder / CARD).read_text("utf-8"))
    card["split"] |= {"policy": "given", "seed": None}
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    assert states(collect(folder))["tripod_ai", "16"] == "open"


def test_whatever_a_user_named_is_shown_and_never_obeyed(runs):
    evil = ("<script>alert('1')</script>", "a & b|c", "line\nbreak")
    folder = runs.add(
        "<b>net</b>", classes=evil, test=(40, 40, 40), rename=None, error_rate=0.3, name="run", **FULL
    )
    card = json.loads((folder / CARD).read_text("utf-8"))
    card["command"] = "hemoscope train --data '<i>' \x07"
    card["files"] = {}
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    report = collect(folder)
    for text in (checklists(report), model_card(report).partition("\n---\n")[2]):
        assert not re.search(r"<(script|b|i)\b", text)
        assert "\x07" not in text
        assert "line\nbreak" not in text
        assert "a &amp; b\\|c" in text


def test_markdown_in_a_name_makes_no_link_and_no_emphasis(runs):
    evil = ("[x](javascript:alert(1))", "**b** `c`", "_d_ ~e~ #f")
    folder = runs.add("resnet18", classes=evil, test=(40, 40, 40), rename=None, error_rate=0.3)
    shown = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .render(model_card(collect(folder)).partition("\n---\n")[2])
    )
    for name in evil:
        assert shown.count(f"<td>{name}</td>") == 1
    assert not re.search(r"<(a|em|strong|code|s)\b", shown[: shown.index("Intended use")])


def test_the_model_card_says_what_a_bundles_says_with_the_scores_of_the_run(one: Path):
    report = collect(one)
    card, scores = model_card(report), report.headline
    assert INTENDED_USE in card
    assert all(f"- {limit}\n" in card for limit in LIMITS)
    low, high = scores.accuracy_ci
    assert (
        f"Accuracy {percent(scores.accuracy)} % (Wilson 95 % interval {percent(low)} % to {percent(high)} %)"
        in card
    )
    for i, name in enumerate(scores.classes):
        bounds = interval((scores.sensitivity.low[i], scores.sensitivity.high[i])).replace("–", " to ")
        assert re.search(
            rf"^\| {name} \| .* \| {percent(scores.sensitivity.value[i])} % \({bounds}\) \|",
            card,
            re.MULTILINE,
        )
    assert ANSWERS["calibration"].say(report) in card


def test_the_hub_reads_the_model_card(one: Path):
    hub = pytest.importorskip("huggingface_hub", reason="the hub's own reader is not installed")
    report = collect(one)
    (result,) = hub.ModelCard(model_card(report), ignore_metadata_errors=False).data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", report.headline.accuracy)


def test_without_test_images_nothing_is_scored(runs):
    folder = runs.add("resnet18", classes=("a", "b"), test=(30, 30), rename=None, error_rate=0.1)
    run = Run.open(folder)
    val = run.predictions("val")
    write_predictions(folder / PREDICTIONS, {"val": val, "test": val.take([])})
    report = collect(folder)
    after = states(report)
    assert {after["claim", number] for number in ("32", "38", "39")} == {"open"}
    assert "Accuracy n/a" in model_card(report)
