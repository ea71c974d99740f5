"""A bundle gives the answers of its runs anywhere, and refuses whatever is not itself."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from typer.testing import CliRunner

from hemoscope import api
from hemoscope.bundle import file as module
from hemoscope.bundle.card import FORMAT
from hemoscope.bundle.file import Bundle, read_bundle, write_parts
from hemoscope.cli.app import app
from hemoscope.data.split_file import write_split
from hemoscope.differential.count import differential
from hemoscope.differential.reference import ReferenceClass, ReferenceTable
from hemoscope.ensemble.vote import vote
from hemoscope.errors import BundleError, DataError, RunError, UnknownNameError
from hemoscope.evaluation.calibration import apply_temperature
from hemoscope.models.registry import arch_names, get_arch
from hemoscope.packing import pack as pack_module
from hemoscope.packing.calibrate import Goals
from hemoscope.packing.pack import PICKED, Voting, pack
from hemoscope.packing.selftest import verify
from hemoscope.packing.write import card_bytes
from hemoscope.predict.model import Model, on_device
from hemoscope.predict.model import load as load_model
from hemoscope.records import Split
from hemoscope.runs import DONE, Run, find_runs
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import prepare, run_job


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {i.filename: archive.read(i) for i in archive.infolist() if i.filename != "SHA256SUMS"}


@pytest.fixture
def edited(single_file: Path, tmp_path: Path) -> Callable[..., Path]:
    """A maker of bundles with other parts, whose digests are right again."""

    def make(change: Callable[[dict[str, bytes]], object]) -> Path:
        parts = parts_of(single_file)
        change(parts)
        path = tmp_path / "edited.hemo"
        path.unlink(missing_ok=True)
        write_parts(path, parts)
        return path

    return make


def card_with(**changes: object) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        card = json.loads(parts["bundle.json"])
        card.update(changes)
        parts["bundle.json"] = json.dumps(card).encode()

    return change


def test_a_loaded_model_answers_as_its_runs_did(runs: list[Run], misfiled: Path, model: Model):
    said = vote([run.predictions("test") for run in runs])
    got = model.predict_proba([misfiled / path for path in said.paths])
    want = apply_temperature(said.probs, model.card.calibration.temperature)
    np.testing.assert_allclose(got, want, atol=2e-5)
    names = model.predict([misfiled / path for path in said.paths])
    assert names.tolist() == [said.classes[i] for i in said.pred]
    assert model.classes_.tolist() == ["blue", "green", "red"]
    assert model.card.scores["n"] == len(said)


def test_the_same_runs_make_the_same_weights_and_a_card_that_says_all(bundle: Bundle, runs: list[Run]):
    card = bundle.card
    assert [m.seed for m in card.members] == [0, 1]
    assert [m.preprocessing.image_px for m in card.members] == [32, 48]
    assert [m.digest for m in card.members] == [run.card["digest"] for run in runs]
    assert card.split["digest"] == runs[0].card["split"]["digest"]
    assert "root" not in card.data
    assert card.data["left_out"] == 0  # how many, never which
    assert card.calibration.measured["called_unknown"]["of"] == card.scores["n"]
    low, high = card.scores["accuracy_ci"]
    assert low <= card.scores["accuracy"] <= high
    assert "not a medical device" in card.intended_use.lower()


def test_the_hub_reads_the_model_card(ensemble_file: Path):
    hub = pytest.importorskip("huggingface_hub", reason="the hub's own reader is not installed")
    text = parts_of(ensemble_file)["README.md"].decode()
    card = hub.ModelCard(text, ignore_metadata_errors=False)
    score = json.loads(parts_of(ensemble_file)["bundle.json"])["scores"]["accuracy"]
    (result,) = card.data.eval_results
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.library_name == "hemoscope"
    assert (result.metric_type, result.metric_value) == ("accuracy", score)
    for words in (
        "Not a medical device",
        "| blue |",
        "Answers below",
        "from the nearest known cell",
        "both there are",
        "Of images without a cell, made of validation images, it called unknown: noise, ",
        "## With flips and turns",
        "this bundle's own (fp32)",
    ):
        assert words in text


def test_a_bundle_checks_itself_and_notices_weights_that_answer_otherwise(bundle: Bundle, edited):
    assert verify(bundle) <= 1e-5

    def shift(parts: dict[str, bytes]) -> None:
        state = load(parts["member-0.safetensors"])
        state["fc.weight"].zero_()
        parts["member-0.safetensors"] = save(state)

    with pytest.raises(BundleError, match="does not answer as it did where it was made"):
        verify(read_bundle(edited(shift)))


def test_an_existing_file_an_unfinished_run_and_other_images_are_refused(
    runs: list[Run], single_file: Path, tmp_path: Path, image_folder
):
    with pytest.raises(DataError, match="is there already"):
        pack(runs, single_file)
    with pytest.raises(DataError, match="does not hold the images"):
        pack(runs[:1], tmp_path / "a.hemo", data=image_folder({"blue": 3, "green": 3, "red": 3}))
    with pytest.raises(DataError, match="there is no data folder"):
        pack(runs[:1], tmp_path / "a.hemo", data=tmp_path / "nowhere")
    begun = Run(tmp_path, runs[0].card)
    assert not (tmp_path / DONE).exists()
    with pytest.raises(RunError, match="needs finished runs"):
        pack([begun], tmp_path / "a.hemo")
    with pytest.raises(RunError, match="at most 32 networks in a bundle; got 33"):  # before any is asked
        pack([runs[0]] * 33, tmp_path / "a.hemo")
    assert not (tmp_path / "a.hemo").exists()


def test_a_card_of_many_networks_has_a_name_and_one_of_many_classes_has_room(bundle: Bundle):
    every = [Run(Path(), {"arch": arch}) for arch in arch_names()]
    assert pack_module._name(every[:2]) == "+".join(sorted(run.arch for run in every[:2]))
    confusion = ((1,) * 1000,) * 1000
    trust = bundle.card.calibration.model_copy(update={"confusion": confusion, "conformal_by_class": None})
    classes = tuple(f"class {i}" for i in range(1000))
    changes = {"name": pack_module._name(every), "classes": classes, "calibration": trust, "tta": None}
    content = card_bytes(bundle.card.model_copy(update=changes))
    assert len(content) < module._MAX_TEXT_BYTES
    read = module._read_card(bundle.path, content)
    assert (read.name, read.calibration.confusion) == (f"ensemble-of-{len(every)}", confusion)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_anywhere_is_noticed(data: st.DataObject, single_file: Path, tmp_path: Path):
    content = bytearray(single_file.read_bytes())
    names = st.sampled_from(["member", "card", "anywhere"])
    span = {
        "member": (len(content) // 2, len(content) // 2 + 1000),
        "card": (30, 3000),
        "anywhere": (0, len(content) - 1),
    }
    at = data.draw(st.integers(*span[data.draw(names)]))
    content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "x.hemo"
    path.write_bytes(content)
    try:
        same = read_bundle(path)
    except BundleError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:  # a byte of the zip's own that nobody reads, such as a time stamp
        assert same.digest == read_bundle(single_file).digest


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(share: float, single_file: Path, tmp_path: Path):
    content = single_file.read_bytes()
    path = tmp_path / "cut.hemo"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BundleError, match="damaged or cut short"):
        read_bundle(path)


def test_what_is_no_bundle_at_all_is_refused(tmp_path: Path):
    with pytest.raises(BundleError, match="there is no bundle"):
        read_bundle(tmp_path / "absent.hemo")
    with pytest.raises(BundleError, match="is a folder; a bundle is one file"):
        read_bundle(tmp_path)
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(BundleError, match="it holds 'hello.txt'"):
        read_bundle(path)


def test_a_newer_format_says_so_and_not_that_it_is_damaged(edited):
    with pytest.raises(BundleError, match=f"bundle format {FORMAT + 1}, of a newer hemoscope"):
        read_bundle(edited(card_with(format=FORMAT + 1, something_new=True)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["blue", "green", "green"]}, "two classes have one name"),
        ({"classes": ["blue", "green"]}, "not 2 x 2"),
        (
            {"classes": [f"c{i}" for i in range(5000)]},
            "classes: .* holds 5,000 entries; expected at most 1,000",
        ),
        ({"classes": ["blue", "green", "re\nd"]}, "classes.2"),
        ({"name": "../../etc/passwd"}, "name: String should match"),
        ({"members": []}, "members"),
        ({"surprise": 1}, "surprise"),
        ({"vote": "loudest"}, "vote"),
    ],
)
def test_a_card_that_does_not_hold_together_is_refused(changes: dict, message: str, edited):
    with pytest.raises(BundleError, match=message):
        read_bundle(edited(card_with(**changes)))


def test_another_normalisation_than_the_networks_get_is_refused(edited):
    def other(parts: dict[str, bytes]) -> None:
        card = json.loads(parts["bundle.json"])
        card["members"][0]["preprocessing"]["std"] = [0.5, 0.5, 0.5]
        parts["bundle.json"] = json.dumps(card).encode()

    with pytest.raises(BundleError, match=r"normalised by mean .* and std \(0\.5, 0\.5, 0\.5\)"):
        read_bundle(edited(other))


ODD_VALUES = (
    *(
        None,
        True,
        0,
        -1,
        1,
        2**31,
        2**63,
        10**400,
        1e-320,
        1e308,
        -1e308,
        0.5,
        "",
        "x" * 9999,
        "\0",
        "../../x",
    ),
    *([], {}, [[]], [0] * 2000, {"a": {"b": [1]}}, "NaN", 1e-9),
)


def places(value: object, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to everything in a JSON document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield (*above, key)
        yield from places(part, (*above, key))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_card_of_odd_values_is_refused_or_the_model_answers(data: st.DataObject, edited):
    def change(parts: dict[str, bytes]) -> None:
        card = json.loads(parts["bundle.json"])
        spots = [p for p in places(card) if p[0] not in ("scores", "data", "split") and "recipe" not in p]
        *way, last = data.draw(st.sampled_from(spots))
        inner = card
        for key in way:
            inner = inner[key]
        inner[last] = data.draw(st.sampled_from(ODD_VALUES))
        parts["bundle.json"] = json.dumps(card).encode()

    try:
        bundle = read_bundle(edited(change))
    except BundleError:
        return
    (verdict,) = on_device(bundle, "cpu", "fp32").judge([np.zeros((40, 40, 3), np.uint8)])
    assert verdict.probs is not None
    assert verdict.probs.sum() == pytest.approx(1)


@pytest.mark.long
def test_1200_cards_of_odd_values_are_refused_or_answer_and_count(bundle: Bundle):
    """Every place of a card, not weights: a file with each would take an hour."""
    rng = np.random.default_rng(0)
    card = json.loads(bundle.card.model_dump_json())
    spots = list(places(card))
    reference = ReferenceTable(
        name="discs",
        source="made up",
        classes={name: ReferenceClass(label=name, role="white") for name in bundle.card.classes},
    )
    refused = 0
    for i in rng.permutation(len(spots) * len(ODD_VALUES))[:1200]:
        spot, odd = divmod(int(i), len(ODD_VALUES))
        other = json.loads(json.dumps(card))
        *way, last = spots[spot]
        inner = other
        for key in way:
            inner = inner[key]
        inner[last] = ODD_VALUES[odd]
        try:
            read = module._read_card(bundle.path, json.dumps(other).encode())
            module._check_normalisation(bundle.path, read)
            for member in read.members:
                get_arch(member.arch)  # as reading the whole file does
        except (BundleError, UnknownNameError) as error:
            refused += len(str(error)) < 5000
            continue
        if spots[spot][0] in ("scores", "split", "limits", "versions", "intended_use", "chosen", "created"):
            continue  # shown, and nothing is computed with it
        (verdict,) = on_device(replace(bundle, card=read), "cpu", "fp32").judge(
            [np.zeros((40, 40, 3), np.uint8)]
        )
        assert verdict.probs is not None
        count = differential(read.classes, [20, 30, 50], [1, 2, 3], read.calibration.confusion, reference)
        corrected = np.array([share.corrected for share in count.shares])
        assert np.isnan(corrected).all() or ((corrected >= 0) & (corrected <= 1)).all()
    assert 200 < refused < 1200


def grown(key: str, item: object) -> Callable[[dict[str, bytes]], None]:
    """Fill a part of the card until it has nearly the 4 MiB that a card may have."""

    def change(parts: dict[str, bytes]) -> None:
        card = json.loads(parts["bundle.json"])
        *way, last = (int(step) if step.isdecimal() else step for step in key.split("."))
        inner = card
        for step in way:
            inner = inner[step]
        n = 3_900_000 // (len(json.dumps(item)) + (2 if isinstance(inner[last], list) else 14))
        if isinstance(inner[last], dict):
            inner[last] = {f"k{i}": item for i in range(n)}
        else:
            inner[last] = [item] * n
        parts["bundle.json"] = json.dumps(card).encode()

    return change


@pytest.mark.parametrize(
    ("key", "item"),
    [
        ("members", {}),
        ("members", 0),
        ("classes", 0),
        ("limits", 0),
        ("versions", 0),
        ("calibration.confusion", 0),
        ("calibration.confusion", []),
        ("calibration", 0),
        ("members.0", 0),
        ("members.0.preprocessing", 0),
        ("members.0.preprocessing.mean", ""),
    ],
)
def test_a_card_of_a_million_things_is_refused_in_little_memory(key: str, item: object, edited):
    path = edited(grown(key, item))
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=r"expected at most [\d,]+|should be") as error:
            read_bundle(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 2000
    assert peak < path.stat().st_size + 300 * 2**20  # of JSON as Python objects; it was 10.5 GiB


def test_counts_too_large_for_arithmetic_are_refused_when_the_file_is_read(edited):
    def huge(parts: dict[str, bytes]) -> None:
        card = json.loads(parts["bundle.json"])
        card["calibration"]["confusion"][0][0] = 10**400
        parts["bundle.json"] = json.dumps(card).encode()

    with pytest.raises(BundleError, match=r"confusion\.0\.0"):
        read_bundle(edited(huge))


def test_a_bundle_without_a_word_on_flips_and_turns_is_still_format_one(
    single_file: Path, ensemble_file: Path
):
    """As older ones are, and as older hemoscopes read them: the field is written only where it is filled."""
    card = json.loads(parts_of(single_file)["bundle.json"])
    assert (card["format"], "tta" in card) == (1, False)
    assert read_bundle(single_file).card.tta is None
    assert json.loads(parts_of(ensemble_file)["bundle.json"])["format"] == 1


def test_without_the_images_a_card_says_whose_answers_it_counts(
    runs: list[Run], tmp_path: Path, image_folder
):
    card = json.loads(json.dumps(runs[0].card))
    card["data"]["root"] = str(tmp_path / "gone")
    moved = Run(runs[0].path, card)
    trust = pack([moved], tmp_path / "a.hemo", goals=Goals(error_rate=0.3), device_name="cpu").calibration
    assert trust.unknown_above is None
    assert "called_unknown" not in trust.measured
    assert trust.measured["answers"] == "those the runs stored (fp32)"
    with pytest.raises(DataError, match="flips and turns are calibrated on the images of the runs"):
        pack([moved], tmp_path / "b.hemo", tta=True, device_name="cpu")


def test_deep_json_and_huge_numbers_end_in_an_error(edited):
    def deep(parts: dict[str, bytes]) -> None:
        parts["bundle.json"] = b"[" * 1_000_000 + b"]" * 1_000_000

    with pytest.raises(BundleError, match="no sensible JSON"):
        read_bundle(edited(deep))


def test_a_number_of_a_million_digits_ends_in_an_error(edited):
    def huge(parts: dict[str, bytes]) -> None:
        parts["bundle.json"] = b'{"format": ' + b"9" * 1_000_000 + b"}"

    with pytest.raises(BundleError, match="no sensible JSON"):
        read_bundle(edited(huge))


def members_as(header: dict | bytes, body: bytes = b"") -> Callable[[dict[str, bytes]], None]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()

    def change(parts: dict[str, bytes]) -> None:
        parts["member-0.safetensors"] = struct.pack("<Q", len(text)) + text + body

    return change


@pytest.mark.parametrize(
    "change",
    [
        members_as(
            {"fc.weight": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 4]}}, b"\0" * 4
        ),
        members_as({"fc.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 2**62]}}),
        members_as({"fc.weight": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        members_as({"../../x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        members_as(b"{" * 100_000),
        lambda parts: parts.update({"member-0.safetensors": struct.pack("<Q", 2**63) + b"{}"}),
        lambda parts: parts.update({"member-0.safetensors": b""}),
        lambda parts: parts.update(
            {
                "member-0.safetensors": save(
                    {k: v.half() for k, v in load(parts["member-0.safetensors"]).items()}
                )
            }
        ),
    ],
    ids=["huge shape", "far offset", "unknown type", "path", "deep header", "long header", "empty", "half"],
)
def test_weights_made_to_hurt_end_in_an_error(change: Callable[[dict[str, bytes]], None], edited):
    with pytest.raises(BundleError, match="weights of"):
        read_bundle(edited(change))


def known_as(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, bytes]], None]:
    def edit(parts: dict[str, bytes]) -> None:
        cells = {name: change(value) for name, value in load(parts["known.safetensors"]).items()}
        parts["known.safetensors"] = save(cells)

    return edit


@pytest.mark.parametrize(
    "change",
    [
        known_as(torch.Tensor.float),
        known_as(lambda cells: cells[:, :-1].contiguous()),
        known_as(lambda cells: cells[:0]),
        known_as(lambda cells: cells[0]),
        known_as(lambda cells: cells * torch.nan),
        known_as(lambda cells: cells * 3),
        known_as(lambda cells: torch.cat([cells[:-1], cells[-1:] * 1.05])),
        known_as(lambda cells: cells[:1].repeat(100_001, 1)),
        lambda parts: parts.update({"known.safetensors": save({"member-7": torch.zeros(3, 512).half()})}),
        lambda parts: parts.update({"known.safetensors": parts["known.safetensors"][:50]}),
    ],
    ids=[
        "float32",
        "narrow",
        "none",
        "one row",
        "NaN",
        "long",
        "one longer",
        "too many",
        "of another",
        "cut short",
    ],
)
def test_known_cells_that_do_not_fit_the_network_are_refused(change, edited):
    with pytest.raises(BundleError, match=r"known\.safetensors"):
        read_bundle(edited(change))


def test_a_card_that_refuses_needs_known_cells_and_another_has_none(edited):
    with pytest.raises(BundleError, match=r"the card needs known\.safetensors"):
        read_bundle(edited(lambda parts: parts.pop("known.safetensors")))

    def trusting(parts: dict[str, bytes]) -> None:
        card = json.loads(parts["bundle.json"])
        card["calibration"]["unknown_above"] = None
        parts["bundle.json"] = json.dumps(card).encode()
        parts.pop("known.safetensors")

    model = on_device(read_bundle(edited(trusting)), "cpu", "fp32")
    (verdict,) = model.judge([np.zeros((40, 40, 3), dtype=np.uint8)])
    assert np.isnan(verdict.distance)
    assert verdict.status != "unknown"


def rewritten(source: Path, path: Path, **options: object) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(path, "w", **options)  # type: ignore[call-overload]
    with zipfile.ZipFile(source) as old:
        for info in old.infolist():
            archive.writestr(info.filename, old.read(info))
    return archive


def test_a_zip_that_plays_tricks_is_refused(single_file: Path, tmp_path: Path):
    path = tmp_path / "tricks.hemo"
    rewritten(single_file, path, compression=zipfile.ZIP_DEFLATED).close()
    with pytest.raises(BundleError, match="is compressed; a bundle never is"):
        read_bundle(path)
    with rewritten(single_file, path) as archive:
        archive.writestr("../evil.py", "import os")
    with pytest.raises(BundleError, match=r"it holds '\.\./evil\.py'"):
        read_bundle(path)
    with rewritten(single_file, path) as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("README.md", "another")
    with pytest.raises(BundleError, match="two files of one name"):
        read_bundle(path)
    with pytest.raises(BundleError, match="a bundle holds no 'run.py'"):
        write_parts(tmp_path / "new.hemo", {"run.py": b""})


def test_an_edited_card_with_old_digests_is_refused(single_file: Path, tmp_path: Path):
    path = tmp_path / "edited.hemo"
    with zipfile.ZipFile(single_file) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(
                info.filename,
                content.replace(b'"majority"', b'"soft"') if info.filename == "bundle.json" else content,
            )
    with pytest.raises(BundleError, match="damaged or was edited: bundle.json is not what SHA256SUMS says"):
        read_bundle(path)


def test_members_and_selftest_must_be_complete(edited):
    with pytest.raises(BundleError, match=r"the card needs .*; the file holds .*member-1"):
        read_bundle(
            edited(lambda parts: parts.update({"member-1.safetensors": parts["member-0.safetensors"]}))
        )


def test_a_selftest_of_other_classes_is_refused(edited):
    def fewer(parts: dict[str, bytes]) -> None:
        rows = json.loads(parts["selftest.json"])
        parts["selftest.json"] = json.dumps({k: v[:2] for k, v in rows.items()}).encode()

    with pytest.raises(BundleError, match="one row of 3 probabilities"):
        read_bundle(edited(fewer))


def test_the_digest_is_that_of_the_content(single_file: Path, tmp_path: Path):
    parts = parts_of(single_file)
    assert write_parts(tmp_path / "again.hemo", parts) == read_bundle(single_file).digest
    assert (
        hashlib.sha256((tmp_path / "again.hemo").read_bytes()).digest()
        == hashlib.sha256(single_file.read_bytes()).digest()
    )


def test_a_run_of_one_validation_image_makes_a_bundle_that_calls_nothing_unknown(discs: Path, tmp_path: Path):
    on_val, on_test = "red/00.png", ("red/01.png", "blue/01.png", "green/01.png")
    rows = tuple(
        row._replace(side="val" if row.path == on_val else "test" if row.path in on_test else "train")
        for row in prepare(discs).split.rows
    )
    write_split(Split(rows, "given", None), tmp_path / "split.csv")
    recipe = Recipe(weights="none", epochs=1, batch_size=16, image_px=32, precision="fp32")
    one = prepare(discs, split_file=tmp_path / "split.csv")
    run_job("resnet18", recipe, one, seed=0, out=tmp_path / "runs", device_name="cpu")
    path = tmp_path / "one.hemo"
    told = CliRunner().invoke(app, ["bundle", str(tmp_path / "runs"), "--out", str(path), "--device=cpu"])
    assert told.exit_code == 0, told.output
    assert "1 validation image is too few: this bundle calls nothing unknown" in told.stderr
    trust = read_bundle(path).card.calibration
    assert (trust.n_val, trust.unknown_above, trust.review_below) == (1, None, None)


def test_a_run_that_was_scored_over_eight_views_is_calibrated_with_them(misfiled: Path, tmp_path: Path):
    recipe = Recipe(
        weights="none", epochs=1, batch_size=16, image_px=32, canvas_px=36, views=8, precision="fp32"
    )
    run = run_job("resnet18", recipe, prepare(misfiled), seed=0, out=tmp_path / "runs", device_name="cpu")
    card = pack([run], tmp_path / "eight.hemo", device_name="cpu")
    assert card.tta
    assert "with flips and turns" in card.tta.measured["answers"]
    moved = replace(run, card={**run.card, "data": {**run.card["data"], "root": "nowhere"}})
    with pytest.raises(DataError, match="flips and turns are calibrated on the images"):
        pack([moved], tmp_path / "moved.hemo", device_name="cpu")


def test_thresholds_are_of_the_half_that_did_not_choose_the_members(runs: list[Run], tmp_path: Path):
    card = api.bundle(runs[0].path.parent, tmp_path / "half.hemo", members="greedy", device="cpu")
    read = read_bundle(tmp_path / "half.hemo").card
    assert card.by_half
    assert read.by_half
    assert (read.calibration.n_val, sum(map(sum, read.calibration.confusion))) == (9, 9)  # of 18
    assert "9 validation images chose; the thresholds are of the other 9" in read.chosen
    named = pack(runs[:1], tmp_path / "named.hemo", device_name="cpu")
    assert (named.by_half, named.calibration.n_val) == (False, 18)
    assert any("picked by their validation scores" in limit for limit in named.limits)
    assert not any("picked by their validation scores" in limit for limit in read.limits)


def test_a_half_that_picked_a_member_s_epoch_is_no_half_that_picked_nothing(misfiled: Path, tmp_path: Path):
    recipe = Recipe(weights="none", epochs=1, batch_size=16, image_px=32, precision="fp32")
    prepared = prepare(misfiled)
    for select in ("last", "best_val"):
        chosen = recipe.model_copy(update={"select_epoch": select, "lr": 0.01})
        run_job("resnet18", chosen, prepared, seed=0, out=tmp_path / "runs", device_name="cpu")
    for run in find_runs(tmp_path / "runs"):
        picked = run.card["recipe"]["select_epoch"] == "best_val"
        voting = Voting(chosen="By name.", by_half=True)
        card = pack([run], tmp_path / f"{picked}.hemo", voting=voting, device_name="cpu")
        assert card.calibration.n_val == 9  # of 18
        assert (PICKED in card.limits) == picked
        assert ("the epoch of 1 network (select_epoch=best_val)" in card.chosen) == picked
        assert ("would be broken too often" in card.chosen) != picked


def test_sets_by_class_have_a_threshold_a_class_and_hold_each_class(
    runs: list[Run], misfiled: Path, tmp_path: Path
):
    path = tmp_path / "by-class.hemo"
    card = pack(runs[:1], path, goals=Goals(coverage=0.7, by_class=True), device_name="cpu")
    trust = card.calibration
    assert trust.conformal_by_class is not None
    assert len(trust.conformal_by_class) == 3
    assert read_bundle(path).card.calibration == trust
    said = runs[0].predictions("test")
    verdicts = list(load_model(path, device="cpu").judge([misfiled / name for name in said.paths]))
    for c, name in enumerate(said.classes):
        held = [name in v.candidates for v, t in zip(verdicts, said.target, strict=True) if t == c]
        measured = trust.measured["conformal_coverage_by_class"][name]
        assert (measured["count"], measured["of"]) == (sum(held), len(held))


def test_thresholds_by_class_of_another_number_of_classes_are_refused(edited: Callable[..., Path]):
    def change(parts: dict[str, bytes]) -> None:
        card = json.loads(parts["bundle.json"])
        card["calibration"]["conformal_by_class"] = [0.5, 0.5]
        parts["bundle.json"] = json.dumps(card).encode()

    with pytest.raises(BundleError, match="not 3 thresholds of the sets"):
        read_bundle(edited(change))
