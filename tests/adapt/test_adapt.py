"""From a bundle and cells to an adapted bundle: what is written, what takes it, and what ends without one."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hemoscope import api
from hemoscope.adapt.adapt import Outcome, work_folder
from hemoscope.adapt.assumed import lean_of, loses_lean, prior_of
from hemoscope.adapt.cells import Cells, gather
from hemoscope.adapt.fit import Lesson, with_new_statistics
from hemoscope.adapt.look import canvases_of, look
from hemoscope.adapt.recipe import ADAPT, AdaptRecipe, adapt_recipe
from hemoscope.bundle.file import read_bundle
from hemoscope.data.camera import evenly
from hemoscope.data.scan.scan import scan
from hemoscope.errors import BundleError, DataError, RunError
from hemoscope.files import lock_folder
from hemoscope.models.build import skeleton
from hemoscope.packing.pack import PICKED
from hemoscope.packing.selftest import TOLERANCE, verify
from hemoscope.predict.model import load, on_device
from hemoscope.predict.network import at_camera
from tests.adapt.conftest import CLASSES, QUICK, QUICK_LABELS
from tests.docs.test_columns import RANGES, agrees, keys_of, printed
from tests.in_process import hemoscope

Run = Callable[..., Outcome]
DATED = {"bundle.json", "README.md", "SHA256SUMS"}  # they hold the time at which it was made


def parts_of(path: Path) -> dict[str, str]:
    """Return the digest of every part of a bundle that follows from what it was made of."""
    with zipfile.ZipFile(path) as archive:
        return {
            name: hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if name not in DATED
        }


@pytest.mark.slow
class TestWhatIsWritten:
    def test_it_is_a_bundle_that_gives_the_answers_it_should(self, adapted_file: Path):
        assert verify(read_bundle(adapted_file)) <= TOLERANCE

    def test_its_card_says_where_it_comes_from(self, adapted_file: Path, single_file: Path, cells: Cells):
        parent, card = read_bundle(single_file), read_bundle(adapted_file).card
        assert card.adapted is not None
        assert card.adapted.parent == parent.digest
        assert card.adapted.cells == cells.digest
        assert card.adapted.n_cells == 36
        assert card.adapted.labelled == {}
        assert sum(one.share for one in card.adapted.shares.values()) == pytest.approx(1)
        assert all(one.low <= one.share <= one.high for one in card.adapted.shares.values())
        assert card.short_sides_px == (40, 40)
        assert card.scores["n"] == 0

    def test_it_says_in_its_card_and_readme_that_its_thresholds_are_an_estimate(self, adapted_file: Path):
        found = read_bundle(adapted_file)
        assert found.card.adapted is not None
        assert not found.card.adapted.by_labels
        (said,) = [line for line in found.card.adapted.known if "an estimate and not a promise" in line]
        assert said in found.readme
        assert all(line in found.readme for line in found.card.adapted.known)
        assert "written by other rules than the usual ones: least_cells 30 in place of 64" in found.readme
        assert "made of these cells, it called unknown: noise, " in found.readme
        assert "shorter sides of 40 to 40 px" in found.readme
        assert "n/a" not in found.readme.partition("## How far")[2].partition("## Members")[0]
        assert PICKED not in found.card.limits  # that promise is not made here

    def test_it_is_the_model_before_but_for_its_batch_normalisation(
        self, adapted_file: Path, single_file: Path
    ):
        before, after = (read_bundle(path).models[0].state_dict() for path in (single_file, adapted_file))
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert {"bn1.weight", "bn1.bias", "bn1.running_mean"} <= changed
        assert all(".bn" in f".{name}" or ".downsample.1." in name for name in changed)

    def test_its_known_cells_are_of_these_cells_and_most_of_them_are_known(
        self, adapted_file: Path, here: Path
    ):
        model = load(adapted_file, device="cpu", precision="fp32")
        assert model.card.calibration.unknown_above is not None
        said = list(model.judge(sorted((here / "cells").iterdir())))
        assert np.mean([one.status == "unknown" for one in said]) < 0.2

    def test_of_the_very_cells_it_was_adapted_to_nothing_says_that_more_are_unknown_than_it_knows(
        self, adapted_file: Path, here: Path
    ):
        done = hemoscope("predict", adapted_file, here / "cells", "--device", "cpu")
        assert done.returncode == 0
        assert "unlike the cells it knows" not in done.stderr
        trust = read_bundle(adapted_file).card.calibration
        measured = {**trust.measured, "called_unknown": {"count": 9, "of": 10}}
        assert trust.model_copy(update={"measured": measured}).usually_unknown == (9, 10)
        assert trust.model_copy(update={"unknown_above": None}).usually_unknown is None

    def test_what_another_camera_has_cost_is_gained_back(
        self, adapted_file: Path, single_file: Path, here: Path
    ):
        files = sorted((here / "cells").iterdir())
        true = np.array([path.name.partition("-")[0] for path in files])
        before, after = (
            float((load(path, device="cpu", precision="fp32").predict(files) == true).mean())
            for path in (single_file, adapted_file)
        )
        assert before < 0.75  # a third would be chance
        # Another processor trains another network, and there are 36 cells.
        assert after > max(0.8, before + 0.2)

    def test_a_differential_count_of_it_says_that_nothing_is_corrected(
        self, adapted_file: Path, here: Path, tmp_path: Path
    ):
        from hemoscope.server.judge import Judge

        (tmp_path / "ranges.toml").write_text(RANGES)
        words = ("--out", tmp_path / "count", "--ranges", tmp_path / "ranges.toml", "--device", "cpu")
        counted = hemoscope("differential", adapted_file, here / "cells", *words, "--json")
        assert counted.returncode == 0, counted.stderr
        figures = json.loads(counted.stdout)
        assert {share["corrected"] for share in figures["shares"]} == {None}
        assert any("nothing is corrected" in remark for remark in figures["remarks"])
        page = (tmp_path / "count" / "report.html").read_text("utf-8")
        assert "nothing is corrected" in page
        assert "the model erred on" not in page  # nobody knows how
        assert figures["model"]["n_val"] == Judge(load(adapted_file, device="cpu")).facts()["n_val"] == 0

    def test_an_older_hemoscope_says_that_it_is_of_a_newer_one(
        self, adapted_file: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("hemoscope.bundle.file.FORMAT", 1)
        with pytest.raises(BundleError, match="has bundle format 2, of a newer hemoscope"):
            read_bundle(adapted_file)

    def test_a_bundle_of_runs_is_still_written_so_that_an_older_one_reads_it(self, single_file: Path):
        with zipfile.ZipFile(single_file) as archive:
            card = json.loads(archive.read("bundle.json"))
        assert card["format"] == 1
        assert "adapted" not in card

    def test_verbs_take_it_as_any_other(self, adapted_file: Path, here: Path, tmp_path: Path):
        assert hemoscope("bundle", "verify", adapted_file).returncode == 0
        shown = hemoscope("bundle", "show", adapted_file)
        assert "## What is known of it" in shown.stdout
        rows = hemoscope("predict", adapted_file, here / "cells", "--device", "cpu")
        assert rows.returncode == 0
        assert len(rows.stdout.splitlines()) == 37
        scored = hemoscope("evaluate", adapted_file, "--data", here / "labelled", "--device", "cpu", "--json")
        assert scored.returncode == 0
        assert json.loads(scored.stdout)["n"] == 12

    def test_its_heatmaps_are_of_its_answers(self, adapted_file: Path, here: Path, tmp_path: Path):
        pytest.importorskip("pytorch_grad_cam", reason="the extra `explain` is not installed")
        files = sorted((here / "cells").iterdir())[::12]
        words = ("--out", tmp_path / "maps", "--device", "cpu", "--json")
        explained = hemoscope("explain", adapted_file, *files, *words)
        assert explained.returncode == 0, explained.stderr
        said = [row["probability"] for row in json.loads(explained.stdout)["images"]]
        probs = load(adapted_file, device="cpu", precision="fp32").predict_proba(files)
        assert said == pytest.approx(probs.max(axis=1).tolist(), abs=1e-4)

    def test_exported_it_gives_its_answers_and_verdicts(self, adapted_file: Path, here: Path, tmp_path: Path):
        pytest.importorskip("onnx", reason="the extra `export` is not installed")
        from hemoscope.export.onnx import open_session

        exported = hemoscope("export", adapted_file, "--out", tmp_path / "here.onnx")
        assert exported.returncode == 0, exported.stderr
        session, model = (
            open_session(tmp_path / "here.onnx"),
            load(adapted_file, device="cpu", precision="fp32"),
        )
        files = sorted((here / "cells").iterdir())[::6]
        pixels = [np.asarray(Image.open(path).convert("RGB")) for path in files]
        said = np.concatenate([session.run(["probs"], {"image": image[None]})[0] for image in pixels])
        assert said == pytest.approx(model.predict_proba(files), abs=1e-3)
        about = session.get_modelmeta().custom_metadata_map
        for name in ("review_below", "unknown_above"):
            assert json.loads(about[name]) == getattr(model.card.calibration, name)
        assert "validation" not in about["thresholds"]

    def test_what_the_verb_says_is_documented(self, single_file: Path, here: Path, tmp_path: Path):
        out = tmp_path / "here.hemo"
        words = ("--data", here / "cells", "--labelled", here / "labelled", "--out", out, "--device", "cpu")
        quick = {key: value for key, value in {**QUICK, **QUICK_LABELS}.items() if key != "epochs"}
        changes = [f"--set={key}={value}" for key, value in quick.items()]
        document = printed("adapt", single_file, *words, *changes)
        assert document["trusted"]
        card = document["adapted"]
        assert set(card["signals"]) == set(document["signals"])
        card["signals"] = {"SIGNAL": 0}
        agrees("adapt", keys_of(document))
        shown = printed("bundle", "show", out)
        assert shown["adapted"].keys() == card.keys()

    def test_int8_needs_sides_that_it_has_not(self, adapted_file: Path, here: Path):
        from hemoscope.packing.labelled import sides_of

        with pytest.raises(DataError, match="adapted to cells without validation and test sides"):
            sides_of(read_bundle(adapted_file).card, here)


@pytest.mark.slow
class TestTheSameAgain:
    def test_a_seed_gives_the_same_bytes_whatever_the_files_are_called(
        self, run: Run, adapted_file: Path, here: Path, tmp_path: Path
    ):
        files = sorted((here / "cells").iterdir())
        for i, path in enumerate(reversed(files)):
            shutil.copy(path, tmp_path / f"{i}.png")
        again = gather(str(tmp_path), CLASSES, most=1000)
        run(again, tmp_path / "again.hemo")
        assert parts_of(tmp_path / "again.hemo") == parts_of(adapted_file)

    def test_from_python_it_is_the_same(
        self, single_file: Path, adapted_file: Path, here: Path, tmp_path: Path
    ):
        out = tmp_path / "again.hemo"
        outcome = api.adapt(single_file, here / "cells", out, device="cpu", **QUICK)
        assert outcome.reasons == ()
        assert parts_of(out) == parts_of(adapted_file)

    def test_everything_but_the_head_learns_where_the_recipe_says_so(
        self, run: Run, cells: Cells, quick: AdaptRecipe, adapted_file: Path, tmp_path: Path
    ):
        run(cells, tmp_path / "other.hemo", recipe=quick.model_copy(update={"learns": "all"}))
        norm, every = (
            read_bundle(path).models[0].state_dict() for path in (adapted_file, tmp_path / "other.hemo")
        )
        assert not torch.equal(norm["conv1.weight"], every["conv1.weight"])
        assert torch.equal(norm["fc.weight"], every["fc.weight"])

    def test_with_memory_cells_stay_what_they_were_taken_for(
        self, run: Run, cells: Cells, quick: AdaptRecipe, tmp_path: Path
    ):
        def shares_with(memory: float) -> list[np.ndarray]:
            shares: list[np.ndarray] = []
            recipe = quick.model_copy(update={"memory": memory, "norm_lr": 40.0})
            out = tmp_path / f"{memory}.hemo"
            run(cells, out, recipe=recipe, watch=lambda _, epoch: shares.append(epoch.shares))
            return shares

        forgets, keeps = shares_with(0.0), shares_with(0.999)
        assert np.array_equal(forgets[0], keeps[0])
        assert np.abs(keeps[1] - keeps[0]).sum() < np.abs(forgets[1] - forgets[0]).sum() / 20

    def test_another_seed_gives_another_network(
        self, run: Run, adapted_file: Path, cells: Cells, tmp_path: Path
    ):
        run(cells, tmp_path / "other.hemo", seed=7)
        assert parts_of(tmp_path / "other.hemo") != parts_of(adapted_file)

    @pytest.mark.skipif(os.name == "nt", reason="no such signal there")
    def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_bytes(
        self,
        run: Run,
        adapted_file: Path,
        single_file: Path,
        here: Path,
        quick: AdaptRecipe,
        cells: Cells,
        tmp_path: Path,
    ):
        out = tmp_path / "killed.hemo"
        script = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from hemoscope.adapt.adapt import adapt\n"
            "from hemoscope.adapt.cells import gather\n"
            "from hemoscope.adapt.recipe import AdaptRecipe\n"
            "from hemoscope.bundle.file import read_bundle\n"
            "model, data, out, recipe = sys.argv[1:]\n"
            "bundle = read_bundle(Path(model))\n"
            "def watch(what, told):\n"
            "    if what == 'another seed': os.kill(os.getpid(), signal.SIGKILL)\n"
            "adapt(bundle, gather(data, bundle.card.classes, most=1000), Path(out), device_name='cpu',\n"
            "      recipe=AdaptRecipe.model_validate_json(recipe), watch=watch)\n"
        )
        words = [single_file, here / "cells", out, quick.model_dump_json()]
        died = subprocess.run([sys.executable, "-c", script, *map(str, words)], check=False, timeout=600)
        assert died.returncode == -signal.SIGKILL
        work = tmp_path / ".killed.hemo.adapting"
        assert list(work.glob("*.safetensors"))
        assert not out.exists()
        told: list[str] = []
        run(cells, out, watch=lambda what, epoch: told.append(f"{what} {epoch.epoch}"))
        assert told[-1:] == ["another seed 2"]
        assert not any(what.startswith("adapting") for what in told)  # its end was saved
        assert parts_of(out) == parts_of(adapted_file)
        assert sorted(tmp_path.iterdir()) == [out]

    def test_a_checkpoint_of_other_cells_is_not_used(
        self, run: Run, cells: Cells, quick: AdaptRecipe, tmp_path: Path
    ):
        def stop(what: str, epoch: object) -> None:
            raise InterruptedError

        fewer = replace(cells, sources=cells.sources[:32], hashes=cells.hashes[:32], target=cells.target[:32])
        out = tmp_path / "here.hemo"
        with pytest.raises(InterruptedError):
            run(fewer, out, watch=stop)
        told: list[str] = []
        run(cells, out, watch=lambda what, epoch: told.append(f"{what} {epoch.epoch}"))
        assert told == ["adapting 1", "adapting 2", "another seed 1", "another seed 2"]

    def test_two_at_once_are_refused(self, run: Run, cells: Cells, tmp_path: Path):
        with lock_folder(tmp_path / ".here.hemo.adapting"), pytest.raises(RunError, match="another process"):
            run(cells, tmp_path / "here.hemo")


@pytest.fixture(scope="session")
def some(here: Path) -> Cells:
    """The discs, four of each class with their labels."""
    return gather(str(here / "cells"), CLASSES, labelled=scan(here / "labelled"), most=1000)


@pytest.mark.slow
class TestLabels:
    def test_a_labelled_cell_is_not_counted_among_the_others(self, some: Cells):
        assert len(some.labelled) == 12
        assert len(some.unlabelled) == 24
        assert some.alike == 12

    def test_labels_make_a_confusion_and_scores_that_were_not_learnt(
        self, run: Run, some: Cells, tmp_path: Path
    ):
        outcome = run(some, tmp_path / "here.hemo")
        assert outcome.card is not None
        assert outcome.card.adapted is not None
        assert outcome.card.adapted.labelled == dict.fromkeys(CLASSES, 4)
        assert 0 < np.sum(outcome.card.calibration.confusion) <= 12
        assert outcome.card.scores["n"] == 12
        assert "## Scores on labelled cells" in read_bundle(tmp_path / "here.hemo").readme
        assert outcome.signals.labelled is not None
        assert verify(read_bundle(tmp_path / "here.hemo")) <= TOLERANCE

    def test_where_labels_say_that_it_is_worse_nothing_is_written(
        self, run: Run, some: Cells, quick: AdaptRecipe, tmp_path: Path
    ):
        strict = quick.model_copy(update={"most_lost": -1.5})  # nothing can be so much better
        outcome = run(some, tmp_path / "here.hemo", recipe=strict)
        assert outcome.card is None
        assert "on 12 labelled cells" in outcome.reasons[0]
        assert list(tmp_path.iterdir()) == [work_folder(tmp_path / "here.hemo")]

    def test_what_a_person_says_is_no_cell_is_not_learnt_from_either(self, here: Path, tmp_path: Path):
        shutil.copytree(here / "labelled", tmp_path / "labelled")
        (tmp_path / "labelled" / "blue").rename(tmp_path / "labelled" / "artefact")
        named = scan(tmp_path / "labelled")
        found = gather(str(here / "cells"), CLASSES, labelled=named, given={"artefact": None}, most=1000)
        assert (len(found.labelled), len(found.unlabelled), found.left_out) == (8, 24, 4)

    def test_without_any_cell_but_the_labelled_ones_it_says_nothing_of_shares(
        self, run: Run, here: Path, quick: AdaptRecipe, tmp_path: Path
    ):
        folder = here / "labelled"
        every = gather(str(folder), CLASSES, labelled=scan(folder), most=1000)
        assert len(every.unlabelled) == 0
        outcome = run(every, tmp_path / "here.hemo", recipe=quick.model_copy(update={"least_labelled": 12}))
        assert outcome.card is not None, outcome.reasons
        assert outcome.shares == {}
        assert outcome.signals.seeds_agree is None

    def test_one_cell_without_a_label_beside_many_says_nothing_against_them(
        self, run: Run, cells: Cells, quick: AdaptRecipe, tmp_path: Path
    ):
        target = np.array([CLASSES.index(Path(str(source)).name.split("-")[0]) for source in cells.sources])
        target[0] = -1
        strict = quick.model_copy(update={"least_information": 0.01})
        outcome = run(replace(cells, target=target), tmp_path / "here.hemo", recipe=strict)
        assert outcome.card is not None, outcome.reasons
        assert outcome.signals.cells == 1

    def test_one_cell_under_two_labels_is_refused(self, here: Path, tmp_path: Path):
        shutil.copytree(here / "labelled", tmp_path / "labelled")
        shutil.copy(tmp_path / "labelled" / "red" / "00.png", tmp_path / "labelled" / "blue" / "x.png")
        with pytest.raises(DataError, match="show the same cell under two classes"):
            gather(str(here / "cells"), CLASSES, labelled=scan(tmp_path / "labelled"), most=1000)

    def test_a_class_of_one_cell_is_too_few(self, run: Run, here: Path, tmp_path: Path):
        shutil.copytree(here / "labelled", tmp_path / "labelled")
        for path in sorted((tmp_path / "labelled" / "red").iterdir())[1:]:
            path.unlink()
        some = gather(str(here / "cells"), CLASSES, labelled=scan(tmp_path / "labelled"), most=1000)
        with pytest.raises(DataError, match=r"got red \(1\)"):
            run(some, tmp_path / "here.hemo")


class TestWhatEndsWithout:
    @pytest.mark.slow
    def test_where_it_is_not_to_be_trusted_nothing_is_written(
        self, run: Run, cells: Cells, quick: AdaptRecipe, tmp_path: Path
    ):
        outcome = run(cells, tmp_path / "here.hemo", recipe=quick.model_copy(update={"least_information": 9}))
        assert outcome.card is None
        assert "hardly differ" in outcome.reasons[0]
        assert list(tmp_path.iterdir()) == [work_folder(tmp_path / "here.hemo")]

        def learnt_again(what: str, _: object) -> None:
            raise AssertionError(what)

        assert (
            run(cells, tmp_path / "here.hemo", watch=learnt_again).card is not None
        )  # by rules that trust it
        assert [path.name for path in tmp_path.iterdir()] == ["here.hemo"]

    def test_what_is_known_before_learning_is_told_before_it(
        self, run: Run, cells: Cells, quick: AdaptRecipe, tmp_path: Path
    ):
        outcome = run(cells, tmp_path / "here.hemo", recipe=quick.model_copy(update={"most_sure": 0.1}))
        assert "sure of these cells" in outcome.reasons[0]
        assert outcome.signals.seeds_agree is None  # nothing was learnt for it
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.slow
    def test_the_verb_says_so_and_exits_with_1(self, single_file: Path, tmp_path: Path):
        rng = np.random.default_rng(0)
        (tmp_path / "noise").mkdir()
        for i in range(40):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "noise" / f"{i}.png")
        rules = {
            "most_sure",
            "least_seeds_agree",
            "least_kept",
            "least_information",
            "most_neighbours",
            "least_nuclei",
        }  # as they are
        changes = [f"--set={key}={value}" for key, value in QUICK.items() if key not in rules]
        words = (
            "adapt",
            single_file,
            "--data",
            tmp_path / "noise",
            "--out",
            tmp_path / "x.hemo",
            "--device",
            "cpu",
        )
        found = hemoscope(*words, *changes, "--json")
        assert found.returncode == 1, found.stderr
        document = json.loads(found.stdout)
        assert not document["trusted"]
        assert document["out"] is None
        assert "stays as it was" in found.stderr
        assert any("falls into no groups" in reason for reason in document["reasons"])
        assert not (tmp_path / "x.hemo").exists()

    def test_so_few_labelled_cells_and_no_others_are_refused_before_any_work(
        self, run: Run, some: Cells, tmp_path: Path, quick: AdaptRecipe
    ):
        rows = some.labelled
        alone = replace(
            some,
            sources=tuple(some.sources[row] for row in rows),
            hashes=tuple(some.hashes[row] for row in rows),
            target=some.target[rows],
        )
        with pytest.raises(DataError, match="all 12 different cells have a label.*at least 20 of 2 classes"):
            run(alone, tmp_path / "x.hemo")
        one_class = replace(alone, target=np.zeros(12, np.int64))
        with pytest.raises(DataError, match="or of one class alone"):
            run(one_class, tmp_path / "x.hemo", recipe=quick.model_copy(update={"least_labelled": 2}))

    @pytest.mark.slow
    def test_what_no_label_can_mend_is_told_before_anything_is_learnt(
        self, run: Run, some: Cells, tmp_path: Path, quick: AdaptRecipe
    ):
        strict = quick.model_copy(update={"least_nuclei": 1.0})
        outcome = run(replace(some, nuclei=0.4), tmp_path / "x.hemo", recipe=strict)
        assert "a nucleus is found in 40.0 %" in outcome.reasons[0]
        assert outcome.signals.labelled is None
        assert list(tmp_path.iterdir()) == []

    def test_an_image_of_quite_another_size_does_not_widen_what_sizes_are_known(
        self, here: Path, tmp_path: Path
    ):
        shutil.copytree(here / "cells", tmp_path / "cells")
        Image.new("RGB", (400, 300), "white").save(tmp_path / "cells" / "field.png")
        found = gather(str(tmp_path / "cells"), CLASSES, most=1000)
        assert (found.sides_px, found.odd_sizes, len(found.sources)) == ((40, 40), 1, 37)

    def test_of_equal_images_that_with_the_fewest_conversions_counts_whatever_it_is_called(
        self, here: Path, tmp_path: Path
    ):
        shutil.copytree(here / "cells", tmp_path / "cells")
        for path in sorted((tmp_path / "cells").iterdir())[:2]:
            image = Image.open(path).convert("RGBA")
            for name in ("0", "z"):
                image.save(path.with_name(f"{name}-{path.name}"))
        found = gather(str(tmp_path / "cells"), CLASSES, most=1000)
        assert (found.converted, found.alike) == ({}, 4)

    def test_what_is_no_image_is_told(self, here: Path, tmp_path: Path):
        shutil.copytree(here / "cells", tmp_path / "cells")
        (tmp_path / "cells" / "notes.txt").touch()
        assert gather(str(tmp_path / "cells"), CLASSES, most=1000).passed == "passed over: 1 .txt"

    def test_too_few_cells_are_refused_before_any_work(
        self, run: Run, cells: Cells, tmp_path: Path, quick: AdaptRecipe
    ):
        with pytest.raises(DataError, match="36 different cells are too few"):
            run(cells, tmp_path / "x.hemo", recipe=quick.model_copy(update={"least_cells": 100}))

    def test_every_image_that_cannot_be_read_is_named(self, here: Path, tmp_path: Path):
        shutil.copytree(here / "cells", tmp_path / "cells")
        for name in ("a.png", "b.jpg"):
            (tmp_path / "cells" / name).write_bytes(b"\x89PNG\r\n no image")
        with pytest.raises(DataError, match=r"2 of 38 images cannot be read(?s:.*)a\.png(?s:.*)b\.jpg"):
            gather(str(tmp_path / "cells"), CLASSES, most=1000)

    def test_a_folder_without_images_is_told_with_what_is_in_it(self, tmp_path: Path):
        (tmp_path / "a.txt").touch()
        with pytest.raises(DataError, match=r"there is no image in .* \(passed over: 1 \.txt\)"):
            gather(str(tmp_path), CLASSES, most=1000)

    @pytest.mark.parametrize(
        ("name", "what"),
        [("model.onnx", "an exported model, INT8 or not"), (".", "is a folder; expected a bundle")],
    )
    def test_what_is_no_bundle_is_told_what_to_adapt_instead(self, name: str, what: str, tmp_path: Path):
        (tmp_path / "model.onnx").touch()
        found = hemoscope("adapt", tmp_path / name, "--data", tmp_path, "--out", tmp_path / "x.hemo")
        assert found.returncode == 1
        assert what in found.stderr


def test_probabilities_assume_the_mixture_they_were_trained_on(single_file: Path):
    bundle = read_bundle(single_file)
    card, (network,) = bundle.card, on_device(bundle, "cpu", "fp32").networks
    counts = np.array([card.data["counts"]["train"][name] for name in card.classes])
    skewed = card.model_copy(update={"data": {"counts": {"train": {"blue": 10, "green": 30, "red": 60}}}})
    assert prior_of(skewed, 0, network, ADAPT).tolist() == [0.1, 0.3, 0.6]
    assert prior_of(card, 0, network, ADAPT).tolist() == (counts / counts.sum()).tolist()
    equally = skewed.members[0].model_copy(update={"recipe": {"sampler": "balanced"}})
    weighed = skewed.members[0].model_copy(update={"recipe": {"class_weights": "balanced"}})
    for one, recipe in (
        (skewed.model_copy(update={"members": (equally,)}), ADAPT),
        (skewed.model_copy(update={"members": (weighed,)}), ADAPT),
        (skewed, adapt_recipe(prior="uniform")),
        (skewed.model_copy(update={"data": {}}), ADAPT),  # adapted before
    ):
        assert prior_of(one, 0, network, recipe).tolist() == [1 / 3] * 3
    mixed = skewed.model_copy(update={"members": (equally, skewed.members[0])})
    assert prior_of(mixed, 1, network, ADAPT).tolist() == [0.1, 0.3, 0.6]  # each has its own


def test_a_lean_that_stays_is_no_evidence_of_shares(single_file: Path):
    bundle = read_bundle(single_file)
    (network,) = on_device(bundle, "cpu", "fp32").networks
    named = bundle.card.members[0].model_copy(update={"recipe": {"sampler": "balanced", "in_blood": 0.5}})
    update = {"members": (named,), "classes": ("neutrophil", "lymphocyte", "platelet")}
    card = bundle.card.model_copy(update=update)
    assert loses_lean(network)
    assert prior_of(card, 0, network, ADAPT).tolist() == [1 / 3] * 3
    squeeze = replace(network, model=skeleton("squeezenet1_1", 3), head="classifier.1")
    assert not loses_lean(squeeze)
    shares = np.sqrt([60.0, 30, 3])
    np.testing.assert_allclose(prior_of(card, 0, squeeze, ADAPT), shares / shares.sum())


def test_a_lean_tells_whose_statistics_are_new_and_is_gone_from_then_on(single_file: Path, cells: Cells):
    lean, none = np.array([1.0, 0.5, -1.5]), np.zeros(0, np.int64)
    bundle = read_bundle(single_file)
    (upright,) = at_camera(on_device(bundle, "cpu", "fp32").networks, evenly(cells.sources))
    leaning = replace(upright, model=copy.deepcopy(upright.model))
    leaning.model.get_parameter(f"{leaning.head}.bias").data += torch.from_numpy(lean).float()
    (canvas,) = canvases_of([upright], cells.sources)
    without = Lesson(upright, canvas, cells.unlabelled, none, none, np.full(3, 1 / 3), CLASSES)
    with_lean = replace(without, network=leaning, lean=lean)

    def logits(lesson: Lesson, bn: float) -> np.ndarray:
        found = with_new_statistics(lesson, adapt_recipe(bn=bn))
        return np.log(look(found, canvas, cells.unlabelled).probs[0])

    np.testing.assert_allclose(logits(with_lean, 0), logits(without, 0), atol=1e-5)
    kept = replace(with_lean, lean=None)
    there = logits(kept, 1) - logits(with_lean, 1)  # the same statistics; answers lean or do not
    np.testing.assert_allclose(
        there - there.mean(axis=1, keepdims=True), np.tile(lean, (len(there), 1)), atol=1e-4
    )


@pytest.mark.slow
def test_what_was_adapted_before_leans_no_more(single_file: Path, adapted_file: Path):
    (linear,) = on_device(read_bundle(single_file), "cpu", "fp32").networks
    cut_off = replace(linear, head="conv1")  # as SqueezeNet's, of which a lean cannot be taken out
    for file, network, leans in (
        (single_file, linear, True),
        (adapted_file, linear, False),
        (adapted_file, cut_off, True),
    ):
        card = read_bundle(file).card
        named = card.members[0].model_copy(update={"recipe": {"in_blood": 0.5}})
        update = {"members": (named,), "classes": ("neutrophil", "ig", "monocyte")}
        found = lean_of(card.model_copy(update=update), 0, network)
        assert (found is not None and found.argmax() == 0) == leans


def test_more_cells_than_are_needed_are_drawn_by_their_content(here: Path):
    found = gather(str(here / "cells"), CLASSES, most=20)
    assert len(found.unlabelled) == 20
    assert found.more == 16
    kinds = {Path(str(source)).name.partition("-")[0] for source in found.sources}
    assert kinds == set(CLASSES)


@pytest.mark.slow
def test_every_member_of_an_ensemble_is_adapted_with_flips_and_turns_where_it_had_them(
    run: Run, cells: Cells, ensemble_file: Path, tmp_path: Path
):
    outcome = run(cells, tmp_path / "here.hemo", model=ensemble_file)
    assert outcome.card is not None
    assert outcome.card.tta is not None
    before, after = (read_bundle(path) for path in (ensemble_file, tmp_path / "here.hemo"))
    for old, new in zip(before.models, after.models, strict=True):
        assert not torch.equal(old.state_dict()["bn1.weight"], new.state_dict()["bn1.weight"])
    assert len(after.known) == 2
