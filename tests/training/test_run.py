"""A run end to end on small images: it learns, it says what it did, it refuses what it should."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hemoscope.data.split_file import write_split
from hemoscope.errors import ConfigError, DataError, RunError, SplitError, TrainingError, WeightsError
from hemoscope.evaluation.summary import score
from hemoscope.files import lock_folder, write_json
from hemoscope.packing.pack import _images_of, _public
from hemoscope.predict.evaluate import Evaluated, predict_labelled, scanned
from hemoscope.predict.network import load_network, load_run
from hemoscope.predict.scorable import a_run
from hemoscope.records import Split, SplitRow
from hemoscope.runs import EpochRow, Run, find_runs
from hemoscope.training.card import RunCard
from hemoscope.training.device import Device, choose_device, resolve_precision, tune
from hemoscope.training.job import Job
from hemoscope.training.loop import Watcher
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, prepare, run_job

QUICK = Recipe(weights="none", epochs=6, batch_size=8, lr=0.02, image_px=32, precision="fp32")


OLD = {"fp32": "2a4d3966", "bf16": "f1328278", "inception": "780d485f"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return tmp_path_factory.mktemp("runs")


def learn(
    prepared: Prepared, out: Path, arch: str = "resnet18", recipe: Recipe = QUICK, seed: int = 0
) -> Run:
    return run_job(
        arch, recipe, prepared, seed=seed, out=out, device_name="cpu", command="hemoscope train ..."
    )


def asked(run: Run, root: Path, split_file: Path | None = None) -> Evaluated:
    return predict_labelled(a_run(run, device="cpu"), scanned(root), split_file=split_file)


def test_it_learns_and_the_run_folder_says_everything(prepared: Prepared, trained: Path):
    recipe = QUICK.model_copy(update={"epochs": 16, "lr_step": 10})
    run = learn(prepared, trained, recipe=recipe)
    assert run.done
    test = run.predictions("test")
    assert test.paths == tuple(sorted(row.path for row in prepared.split.side("test")))
    assert test.n_errors <= 1  # 9 discs of three colours
    np.testing.assert_allclose(test.probs.sum(axis=1), 1, atol=1e-5)
    card = run.card
    assert card["status"] == "done"
    assert card["metrics"]["test"] == json.loads(json.dumps(score(test).to_json()))
    assert card["split"] == {"digest": prepared.split.digest, "policy": "paper", "seed": 0}
    assert card["data"]["counts"] == prepared.split.counts
    assert card["machine"]["device"] == "cpu"
    assert card["utilisation"]["share"] > 0
    assert card["timings"]["elapsed_s"] > 0
    assert card["timings"]["images_per_s"] > 0
    assert card["versions"]["torch"] == torch.__version__.partition("+")[0] or card["versions"]["torch"]
    assert [row.epoch for row in run.history] == list(range(1, 17))
    assert [row.lr for row in run.history] == [0.02] * 10 + [0.002] * 6
    assert run.history[-1].train_loss < run.history[0].train_loss
    names = sorted(p.name for p in run.path.iterdir() if p.name != ".lock")
    assert names == ["DONE", "history.csv", "model.safetensors", "predictions.parquet", "run.json"]


def test_a_clock_that_is_set_back_takes_no_time_back(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    day = iter(range(28, 0, -1))  # a day earlier, whenever somebody looks

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls(2026, 11, next(day), tzinfo=tz)

    monkeypatch.setattr("hemoscope.training.card.datetime", Clock)
    card = learn(prepared, tmp_path).card
    assert card["started_at"] > card["finished_at"]
    assert 0 < card["timings"]["train_s"] <= card["timings"]["elapsed_s"]


def test_doing_it_again_is_a_no_op(prepared: Prepared, trained: Path):
    first = learn(prepared, trained)
    times = {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()}
    assert learn(prepared, trained).path == first.path
    assert times == {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()}


def test_the_saved_network_gives_the_saved_predictions(prepared: Prepared, trained: Path, tmp_path: Path):
    run = learn(prepared, trained)
    write_split(prepared.split, tmp_path / "split.csv")
    found = asked(run, prepared.manifest.root, split_file=tmp_path / "split.csv")
    again = found.predictions
    saved = run.predictions("test")
    assert again.paths == saved.paths
    np.testing.assert_array_equal(again.target, saved.target)
    np.testing.assert_allclose(again.probs, saved.probs, atol=2e-2)  # bf16 where the processor has it
    everything = asked(run, prepared.manifest.root)
    assert len(everything.predictions) == 72
    assert found.seen == {"train": 0, "val": 0, "test": 9}
    assert everything.seen == {side: len(prepared.split.side(side)) for side in ("train", "val", "test")}


def test_one_class_alone_is_scored_and_images_of_other_names_are_known_by_content(
    prepared: Prepared, trained: Path, tmp_path: Path
):
    run = learn(prepared, trained)
    of = [row for row in prepared.split.rows if row.class_name == "red"][:6]
    (tmp_path / "some" / "red").mkdir(parents=True)
    for i, row in enumerate(of):
        shutil.copy(prepared.manifest.root / row.path, tmp_path / "some" / "red" / f"other {i}.png")
    found = asked(run, tmp_path / "some")
    assert len(found.predictions) == 6
    assert found.seen == {side: sum(row.side == side for row in of) for side in ("train", "val", "test")}
    (tmp_path / "some" / "red" / "torn.png").write_bytes(b"")
    with pytest.raises(DataError, match="stop the work") as caught:
        asked(run, tmp_path / "some")
    assert "--skip-bad" not in str(caught.value)


def test_a_run_whose_split_is_gone_or_changed_cannot_tell_what_it_was_trained_on(
    prepared: Prepared, trained: Path, tmp_path: Path
):
    run = learn(prepared, trained)
    alone = tmp_path / run.name
    shutil.copytree(run.path, alone)
    assert asked(Run.open(alone), prepared.manifest.root).seen is None
    (tmp_path / "splits").mkdir()
    (split,) = (run.path.parent / "splits").iterdir()
    changed = split.read_text().replace(",test\n", ",train\n", 1)
    (tmp_path / "splits" / split.name).write_text(changed)
    assert asked(Run.open(alone), prepared.manifest.root).seen is None


def test_a_folder_with_a_class_the_run_does_not_know_is_refused(
    prepared: Prepared, trained: Path, image_folder
):
    other = image_folder({"red": 2, "purple": 2})
    with pytest.raises(DataError, match="they are: purple. It knows blue, green, red"):
        asked(learn(prepared, trained), other)


def test_a_finished_run_that_rotted_is_refused(prepared: Prepared, tmp_path: Path):
    path = learn(prepared, tmp_path, recipe=QUICK.model_copy(update={"epochs": 1})).path
    for name in ("model.safetensors", "predictions.parquet"):
        whole = (path / name).read_bytes()
        middle = len(whole) // 2
        bit, zeros = bytearray(whole), bytearray(whole)
        bit[middle] ^= 1
        zeros[middle : middle + 99] = bytes(99)
        for damaged in (bit, zeros, whole[:-100]):
            (path / name).write_bytes(damaged)
            run = Run.open(path)
            with pytest.raises(RunError, match=rf"{name} is damaged: expected SHA-256"):
                load_network(run) if name.startswith("model") else run.predictions("test")
        (path / name).unlink()
        with pytest.raises(RunError, match=rf"{name} cannot be read: No such file"):
            load_network(run) if name.startswith("model") else run.predictions("test")


@pytest.mark.parametrize(
    "change",
    [
        {"class_weights": "balanced"},
        {"sampler": "balanced"},
        {"select_epoch": "best_val"},
        {"head": "single_layer"},
        {"eval_view": "full_image"},
        {"crop": "random", "fill": "edge"},
    ],
    ids="-".join,
)
def test_every_option_trains_and_makes_another_run(image_folder, trained: Path, change: dict[str, str]):
    prepared = prepare(
        image_folder({"many": 24, "few": 8}, size_px=40)
    )  # weights matter where classes differ
    plain = QUICK.model_copy(update={"epochs": 2, "lr": 0.001})
    base = learn(prepared, trained, recipe=plain)  # once: the next option finds it done
    other = learn(prepared, trained, recipe=Recipe.model_validate(plain.model_dump() | change))
    assert base.path != other.path
    losses = [[(row.train_loss, row.val_loss) for row in run.history] for run in (base, other)]
    # ResNet has one layer anyway, and another choice of epoch trains just the same.
    assert (losses[0] == losses[1]) == ("head" in change or "select_epoch" in change)


def test_best_val_keeps_the_weights_of_the_best_validation_epoch(prepared: Prepared, tmp_path: Path):
    recipe = QUICK.model_copy(update={"select_epoch": "best_val"})
    run = learn(prepared, tmp_path, recipe=recipe)
    best = max(row.val_accuracy for row in run.history)
    assert run.card["metrics"]["val"]["accuracy"] == pytest.approx(best)


def test_a_last_batch_of_one_image_does_not_stop_batch_normalisation(prepared: Prepared, tmp_path: Path):
    train = len(prepared.split.side("train"))  # 45
    recipe = QUICK.model_copy(update={"epochs": 1, "batch_size": train - 1})
    assert learn(prepared, tmp_path, recipe=recipe).done


def test_a_loss_that_explodes_stops_with_epoch_and_step(prepared: Prepared, tmp_path: Path):
    recipe = QUICK.model_copy(update={"lr": 1e9})
    with pytest.raises(TrainingError, match=r"diverged in epoch 1, step \d+: the loss is .*--set lr="):
        learn(prepared, tmp_path, "alexnet", recipe.model_copy(update={"image_px": 64}))
    (folder,) = tmp_path.glob("alexnet-*")
    assert Run.open(folder).card["status"] == "failed"
    with pytest.raises(RunError, match="found 1 unfinished"):
        find_runs(tmp_path)


def test_missing_weights_name_the_commands_and_never_fall_back(prepared: Prepared, tmp_path: Path):
    recipe = QUICK.model_copy(update={"weights": "imagenet"})
    with pytest.raises(WeightsError, match="weights fetch resnet18.*weights import.*--weights none"):
        learn(prepared, tmp_path, recipe=recipe)


def test_a_run_in_use_is_not_touched(prepared: Prepared, tmp_path: Path):
    job = Job("resnet18", QUICK, prepared.manifest, prepared.split, 0)
    with lock_folder(tmp_path / job.name), pytest.raises(RunError, match="in use by another process"):
        learn(prepared, tmp_path)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(prepared: Prepared, tmp_path: Path):
    class Stop(Watcher):
        def on_epoch(self, row: EpochRow, epochs: int) -> None:
            assert epochs == 3
            if row.epoch == 2:
                raise KeyboardInterrupt

    recipe = QUICK.model_copy(update={"epochs": 3})
    whole = learn(prepared, tmp_path / "whole", recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        run_job("resnet18", recipe, prepared, seed=0, out=tmp_path / "two", device_name="cpu", watcher=Stop())
    run = learn(prepared, tmp_path / "two", recipe=recipe)
    assert (run.card["timings"]["resumed"], whole.card["timings"]["resumed"]) == (1, 0)
    assert (run.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    (tmp_path / "three" / run.name).mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        run_job("resnet18", recipe, prepared, seed=1, out=tmp_path / "two", device_name="cpu", watcher=Stop())
    (other,) = (tmp_path / "two").glob("*-s1-*/checkpoint.safetensors")
    shutil.copy(other, tmp_path / "three" / run.name)
    with pytest.raises(RunError, match="belongs to another job; expected digest"):
        learn(prepared, tmp_path / "three", recipe=recipe)


def test_a_damaged_checkpoint_says_what_to_do(prepared: Prepared, tmp_path: Path):
    class Stop(Watcher):
        def on_epoch(self, row: object, epochs: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job("resnet18", QUICK, prepared, seed=0, out=tmp_path, device_name="cpu", watcher=Stop())
    (checkpoint,) = tmp_path.glob("*/checkpoint.safetensors")
    whole = checkpoint.read_bytes()
    flipped = bytearray(whole)
    flipped[-1000] ^= 4  # in a tensor
    for content in (whole[:1000], flipped):
        checkpoint.write_bytes(content)
        with pytest.raises(RunError, match="checkpoint.safetensors is damaged.*delete it to begin"):
            learn(prepared, tmp_path)


def test_the_name_is_the_content(prepared: Prepared):
    def name(arch: str = "vgg16", recipe: Recipe = QUICK, seed: int = 0, weights: str = "") -> str:
        return Job(arch, recipe, prepared.manifest, prepared.split, seed, weights).name

    names = [
        name(),
        name("vgg19"),
        name(seed=1),
        name(recipe=QUICK.model_copy(update={"lr": 0.1})),
        name(weights="ab"),
    ]
    assert len(set(names)) == 5
    # Its schedule does not look at it.
    assert name() == name(recipe=QUICK.model_copy(update={"warmup": 0.3}))
    assert name().startswith("vgg16-paper.5changes-s0-")
    assert name(recipe=Recipe(precision="fp32")).startswith("vgg16-paper-s0-")


@pytest.mark.parametrize("seed", [-1, 2**63, 10**20])
def test_a_seed_that_no_run_can_have_is_refused(prepared: Prepared, tmp_path: Path, seed: int):
    with pytest.raises(ConfigError, match=f"expected a seed from 0 to {2**63 - 1}; got {seed}"):
        learn(prepared, tmp_path, seed=seed)
    assert not list(tmp_path.iterdir())


def test_runs_whose_numbers_did_not_change_keep_their_digests(prepared: Prepared):
    # Computed at commit 89b542e, before the head was exact and odd crops were torchvision's.
    def digest(arch: str, recipe: Recipe) -> str:
        row = SplitRow("blue/00.png", "blue", "", 64 * "0", "train")
        return Job(arch, recipe, prepared.manifest, Split((row,), "paper", 0), 0).digest[:8]

    fp32 = Recipe(precision="fp32")
    assert digest("resnet18", fp32) == OLD["fp32"]
    assert digest("resnet18", Recipe(precision="bf16")) != OLD["bf16"]
    assert digest("inception_v3", fp32) != OLD["inception"]


def test_a_split_without_training_images_of_a_class_is_refused(prepared: Prepared, tmp_path: Path):
    rows = [
        row._replace(side="val") if row.class_name in ("blue", "red") and row.side == "train" else row
        for row in prepared.split.rows
    ]
    write_split(Split(tuple(rows), "given", None), tmp_path / "split.csv")
    with pytest.raises(
        SplitError, match=r"split.csv puts no training image on the side of blue, red; .*at least 1"
    ):
        prepare(prepared.manifest.root, split_file=tmp_path / "split.csv")


def test_folders_of_sides_that_leave_none_to_choose_by_are_refused(prepared: Prepared, tmp_path: Path):
    for row in {(row.class_name, row.side): row for row in prepared.split.rows if row.side != "val"}.values():
        folder = tmp_path / row.side / row.class_name
        folder.mkdir(parents=True)
        shutil.copy(prepared.manifest.root / row.path, folder)
    with pytest.raises(SplitError, match=r"puts no image on the side of val; .*on each of train, val, test"):
        prepare(tmp_path)


def test_the_images_of_a_run_that_a_list_named_are_found_by_the_list(prepared: Prepared, tmp_path: Path):
    lines = [f"{prepared.manifest.root / i.path},{i.class_name}" for i in prepared.manifest.images]
    root = prepared.manifest.root
    table = root.parent / "labels.csv"
    table.write_text("\n".join(["path,class", *(line.replace(f"{root.parent}/", "") for line in lines[:-1])]))
    run = learn(prepare(table), tmp_path)
    assert run.card["data"]["source"] == str(table)
    assert _images_of(run, None) == table
    assert "source" not in _public(run.card["data"])  # it may be named after a patient
    table.write_text("path,class\n")
    assert _images_of(run, None) is None
    with pytest.raises(DataError):
        _images_of(run, table)
    table.unlink()


def test_a_class_that_a_split_leaves_out_is_no_output_of_the_network(prepared: Prepared, tmp_path: Path):
    rows = tuple(row for row in prepared.split.rows if row.class_name != "red")
    write_split(Split(rows, "given", None), tmp_path / "split.csv")
    two = prepare(prepared.manifest.root, split_file=tmp_path / "split.csv")
    assert two.manifest.classes == two.split.classes == tuple(c for c in prepared.split.classes if c != "red")
    assert learn(two, tmp_path).predictions("test").probs.shape[1] == len(two.split.classes)


def test_inputs_that_a_network_is_too_deep_for_are_refused_before_any_step(
    prepared: Prepared, tmp_path: Path
):
    for arch, side in (("alexnet", 62), ("inception_v3", 298)):
        recipe = QUICK.model_copy(update={"image_px": side, "canvas_px": 299})
        with pytest.raises(
            ConfigError, match=f"{side} px are too small for {arch}; .* of {side + 1} px or more"
        ):
            learn(prepared, tmp_path, arch, recipe)
        (folder,) = tmp_path.glob(f"{arch}-*")
        assert Run.open(folder).card["status"] == "failed"


def test_evaluation_computes_in_the_run_s_own_precision(prepared: Prepared, trained: Path):
    run = learn(prepared, trained)
    assert load_run(run, device_name="cpu").device.precision == "fp32"
    run.card["recipe"]["precision"] = "bf16"
    assert load_run(run, device_name="cpu").device.precision == "bf16"
    assert load_run(run, device_name="cpu", precision="fp32").device.precision == "fp32"


def test_skip_bad_leaves_a_bad_file_out_and_says_so(image_folder, tmp_path: Path):
    root = image_folder({"a": 12, "b": 12})
    (root / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    with pytest.raises(DataError, match=r"(?s)a/broken.jpg.*--skip-bad"):
        prepare(root)
    prepared = prepare(root, skip_bad=True)
    run = learn(prepared, tmp_path / "out", recipe=QUICK.model_copy(update={"epochs": 1}))
    (left_out,) = run.card["data"]["left_out"]
    assert left_out["path"] == "a/broken.jpg"


def test_torch_takes_no_more_threads_than_cores_are_ours(monkeypatch: pytest.MonkeyPatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("hemoscope.training.device.available_cores", lambda: 1)
    try:
        tune(torch.device("cpu"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_devices_and_precisions_are_what_the_machine_has():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="expected a device auto, cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="'cuda' is not on this machine; here: .*cpu"):
            choose_device("cuda")
        assert choose_device("auto").type in ("cpu", "mps")
    assert resolve_precision("fp32", torch.device("cpu")) == "fp32"
    with Device(torch.device("cpu"), "bf16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_a_network_that_died_is_told_and_not_trained_on(prepared: Prepared, tmp_path: Path):
    # SqueezeNet ends in a ReLU: a rate that drives every logit below zero leaves no gradient at all.
    recipe = QUICK.model_copy(update={"lr": 0.3, "epochs": 4})
    with pytest.raises(TrainingError, match=r"died in epoch \d: it gives all 18 validation images the same"):
        learn(prepared, tmp_path, "squeezenet1_1", recipe)
    (folder,) = tmp_path.glob("squeezenet1_1-*")
    assert Run.open(folder).card["status"] == "failed"
    assert not (folder / "predictions.parquet").exists()


def test_a_network_is_not_dead_because_its_validation_images_are_one(discs: Path, tmp_path: Path):
    root = shutil.copytree(discs, tmp_path / "cells")
    with Image.open(root / "red/00.png") as image:
        image.save(root / "red/copy.png", compress_level=0)  # other bytes
    on_val, on_test = ("red/00.png", "red/copy.png"), ("red/01.png", "blue/01.png", "green/01.png")
    rows = tuple(
        row._replace(side="val" if row.path in on_val else "test" if row.path in on_test else "train")
        for row in prepare(root).split.rows
    )
    write_split(Split(rows, "given", None), tmp_path / "split.csv")
    one = prepare(root, split_file=tmp_path / "split.csv")
    quick = QUICK.model_copy(update={"epochs": 1, "lr": 0.003})
    val = learn(one, tmp_path / "runs", "squeezenet1_1", quick).predictions("val")
    assert val.paths == on_val


def test_a_network_that_its_last_step_has_spoilt_is_no_finished_run(prepared: Prepared, tmp_path: Path):
    """One step: its loss is finite, and what it has done shows in the evaluation only."""
    recipe = QUICK.model_copy(update={"epochs": 1, "batch_size": 64, "lr": 1e30, "weights": "none"})
    with pytest.raises(
        TrainingError, match="diverged: it gives val images probabilities that are no numbers"
    ):
        learn(prepared, tmp_path, "resnet18", recipe)
    (folder,) = tmp_path.glob("resnet18-*")
    assert Run.open(folder).card["status"] == "failed"
    assert not (folder / "predictions.parquet").exists()


def test_a_run_that_fails_before_it_goes_on_keeps_the_time_it_began(prepared: Prepared, tmp_path: Path):
    job = Job("resnet18", QUICK, prepared.manifest, prepared.split, 0)
    write_json(tmp_path / "run.json", {"started_at": "2026-01-02T03:04:05+00:00"})
    RunCard(job, tmp_path).fail("the images are gone")
    card = Run.open(tmp_path).card
    assert (card["status"], card["started_at"]) == ("failed", "2026-01-02T03:04:05+00:00")
    (tmp_path / "run.json").unlink()
    RunCard(job, tmp_path).fail("the images are gone")
    assert "started_at" not in Run.open(tmp_path).card


def test_a_card_counts_groups_and_those_that_a_split_parts(prepared: Prepared, tmp_path: Path):
    first, second, third, *_ = prepared.split.side("train")
    group_of = {first.path: "parted", prepared.split.side("test")[0].path: "parted"}
    group_of |= {second.path: "whole", third.path: "whole"}
    images = tuple(image._replace(group=group_of.get(image.path, "")) for image in prepared.manifest.images)
    RunCard(
        Job("resnet18", QUICK, replace(prepared.manifest, images=images), prepared.split, 0), tmp_path
    ).fail("")
    facts = Run.open(tmp_path).card["data"]
    assert (facts["groups"], facts["groups_on_two_sides"]) == (2, 1)
    RunCard(Job("resnet18", QUICK, prepared.manifest, prepared.split, 0), tmp_path).fail("")
    assert "groups" not in Run.open(tmp_path).card["data"]
