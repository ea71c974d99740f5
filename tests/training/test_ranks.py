"""Several processes train one run: to its numbers, one word and one folder for all of them, and one end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from hemoscope.errors import ConfigError
from hemoscope.files import lock_folder
from hemoscope.models.build import build, skeleton
from hemoscope.models.registry import ARCHITECTURES
from hemoscope.runs import Run
from hemoscope.training.ranks import ALONE, Ranks, ranks_here
from hemoscope.training.recipe import Recipe
from tests.training import ranked

# 26 training images in batches of 12 leave a last batch of two: of three ranks the first has none in it.
COUNTS = {
    "train": {"a": 5, "b": 8, "c": 13},
    "val": {"a": 3, "b": 3, "c": 3},
    "test": {"a": 1, "b": 2, "c": 2},
}
PLAIN = Recipe(
    weights="none",
    epochs=2,
    batch_size=12,
    lr=0.001,
    lr_step=1,  # drops before the second epoch
    weight_decay=0.1,
    image_px=64,  # at 32 px, the last maps are of one pixel, and batch normalisation multiplies rounding a thousandfold
    canvas_px=72,
    precision="fp32",
)
CASES = {
    "batch norm": ("resnet18", {}),
    "dropout of maps": ("squeezenet1_1", {"canvas_px": 64}),
    "class weights, best epoch": (
        "squeezenet1_1",
        {
            "class_weights": "balanced",
            "label_smoothing": 0.1,
            "sampler": "balanced",
            "select_epoch": "best_val",
        },
    ),
    "what goes beyond the paper": (
        "mobilenet_v2",
        {
            "schedule": "warm_cosine",
            "warmup": 0.3,
            "head_lr": 5.0,
            "ema": 0.6,
            "label_smoothing": 0.1,
            "mixup": 0.4,
            "class_weights": "balanced",
            "image_px": 72,
            "canvas_px": 80,
            "small_px": 64,
            "small_epochs": 1,
            "views": 8,
            "framing": "nucleus",
            "fill": "white",
            "zoom": 0.1,
            "stain_mix": 0.2,
            "stain_gain": 0.2,
            "grey": 0.3,
            "frame_jitter": 0.5,
            "blur": 0.5,
            "noise": 0.03,
            "jpeg": 0.5,
        },
    ),
}
BEGUN = 9  # the seed of a run that several begin and one goes on with; the next one the other way round


def job(case: str, **more: object) -> dict[str, object]:
    arch, changes = CASES[case]
    return {"arch": arch, "recipe": PLAIN.model_dump() | changes, **more}


def by(folder: Path, cells: Path, jobs: list[dict[str, object]], *, ranks: int) -> None:
    done = ranked.work(folder, cells, jobs, ranks=ranks)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def cells(made_once) -> Path:
    """Images without a flat place, on given sides."""
    return made_once("ranks-cells", lambda folder: ranked.noise(folder / "cells", COUNTS)) / "cells"


@pytest.fixture(scope="module")
def one(made_once, cells: Path) -> Path:
    """Every case by one process, without kinks."""
    return made_once("ranks-one", lambda folder: by(folder, cells, [job(case) for case in CASES], ranks=1))


@pytest.fixture(scope="module")
def two(made_once, cells: Path) -> Path:
    """Every case by two."""
    return made_once("ranks-two", lambda folder: by(folder, cells, [job(case) for case in CASES], ranks=2))


@pytest.fixture(scope="module")
def three(made_once, cells: Path) -> Path:
    """Every case by three."""
    return made_once("ranks-three", lambda folder: by(folder, cells, [job(case) for case in CASES], ranks=3))


@pytest.fixture(scope="module")
def handed_over(made_once, cells: Path) -> Path:
    """Runs that others go on with than began them."""

    def fill(folder: Path) -> None:
        whole = [job("batch norm", seed=seed) for seed in (BEGUN, BEGUN + 1)]
        begun = [begin | {"ends": {"after": 1}} for begin in whole]
        by(folder / "whole", cells, whole, ranks=1)
        by(folder / "begun", cells, begun[:1], ranks=2)
        by(folder / "begun", cells, [whole[0], begun[1]], ranks=1)
        by(folder / "begun", cells, whole[1:], ranks=2)

    return made_once("ranks-handed-over", fill)


def compare(ours: Run, theirs: Run) -> None:
    """By rounding: the largest differences seen are in decision 14, a tenth of the tolerance or less."""
    assert ours.done
    for a, b in zip(ours.history, theirs.history, strict=True):
        assert (a.epoch, a.lr) == (b.epoch, b.lr)
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-4)
        assert a.val_loss == pytest.approx(b.val_loss, rel=1e-4)
        assert (a.train_accuracy, a.val_accuracy) == pytest.approx((b.train_accuracy, b.val_accuracy))
    for side in ("val", "test"):
        said, wanted = ours.predictions(side), theirs.predictions(side)
        assert said.paths == wanted.paths
        np.testing.assert_array_equal(said.target, wanted.target)
        np.testing.assert_allclose(said.probs, wanted.probs, atol=1e-5)
    state, wanted = (load_file(run.path / "model.safetensors") for run in (ours, theirs))
    before = build(ours.card["arch"], 3, seed=ours.card["seed"]).state_dict()
    assert state.keys() == wanted.keys()
    for name, value in wanted.items():
        moved = (value.double() - before[name].double()).norm()
        off = (state[name].double() - value.double()).norm()
        assert off <= 1e-3 * moved + 1e-5, f"{name}: off by {off:.3g} where training moved it {moved:.3g}"


def numbers_are_those_of_one(folder: Path, one: Path, case: str, ranks: int) -> None:
    arch, changes = CASES[case]
    recipe = PLAIN.model_dump() | changes
    (wanted,) = (run for run in map(Run.open, one.glob(f"{arch}-*-s0-*")) if run.card["recipe"] == recipe)
    ours = Run.open(folder / wanted.name)  # as many as they are, the run has its name
    compare(ours, wanted)
    machine = ours.card["machine"]
    assert (machine["ranks"], machine["backend"]) == (ranks, "gloo")
    assert "ranks" not in wanted.card["machine"]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_numbers_of_one(two: Path, one: Path, case: str):
    numbers_are_those_of_one(two, one, case, 2)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_three_of_which_one_has_no_image_of_the_last_batch_give_the_numbers_of_one(
    three: Path, one: Path, case: str
):
    numbers_are_those_of_one(three, one, case, 3)


@pytest.mark.long
@pytest.mark.parametrize("seed", [BEGUN, BEGUN + 1])
def test_one_goes_on_with_what_two_began_and_two_with_what_one_began(handed_over: Path, seed: int):
    ours, wanted = (Run.open(next((handed_over / name).glob(f"*-s{seed}-*"))) for name in ("begun", "whole"))
    compare(ours, wanted)
    assert ours.card["timings"]["resumed"] == 1
    assert ("ranks" in ours.card["machine"]) == (seed == BEGUN + 1)


# What has a part of its own of a batch, in every kind of layer and of view that torchvision's networks have.
STEPS = {
    "alexnet": 64,
    "densenet121": 64,
    "googlenet": 64,
    "inception_v3": 299,  # its auxiliary head takes no smaller one
    "mobilenet_v2": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "squeezenet1_0": 64,
}


@pytest.mark.long
@pytest.mark.parametrize("n", [5, 2])
def test_a_shared_step_is_the_step_of_one_in_every_family_also_for_a_rank_without_images(
    tmp_path: Path, n: int
):
    steps = [{"arch": arch, "image_px": side, "n": n, "double": True} for arch, side in STEPS.items()]
    distances = ranked.step(tmp_path, steps, ranks=3)
    assert distances.keys() == STEPS.keys()
    for arch, of in distances.items():
        for what, distance in of.items():
            assert distance < 1e-5, f"{arch}: {what} is off by {distance:.3g}"


@pytest.mark.long
def test_statistics_that_are_kept_are_those_of_one_also_for_a_rank_without_images(tmp_path: Path):
    steps = [
        {"arch": arch, "image_px": STEPS[arch], "n": 2, "double": True, "frozen": True}
        for arch in ("densenet121", "mobilenet_v2")
    ]
    for arch, of in ranked.step(tmp_path, steps, ranks=3).items():
        for what, distance in of.items():
            assert distance < 1e-5, f"{arch}: {what} is off by {distance:.3g}"


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 2])
def test_images_are_normalised_by_themselves_on_every_rank_also_where_there_is_none(tmp_path: Path, n: int):
    asked = {"arch": "resnet18", "image_px": 64, "n": n, "double": True, "instance_norm": 0.3}
    (of,) = ranked.step(tmp_path, [asked], ranks=3).values()
    for what, distance in of.items():
        assert distance < 1e-5, f"{what} is off by {distance:.3g}"


@pytest.mark.long
def test_in_bf16_a_shared_step_is_as_near_as_bf16_is(tmp_path: Path):
    steps = [
        {"arch": arch, "image_px": STEPS[arch], "n": 5, "precision": "bf16"}
        for arch in ("resnet18", "squeezenet1_0")
    ]
    for arch, of in ranked.step(tmp_path, steps, ranks=3).items():
        # The first layer's gradient in bf16 is 40 % off that in fp32, alone: rounding again in every layer above it.
        gradients = [far for what, far in of.items() if what.startswith("gradient")]
        assert np.median(gradients) < 0.02, arch
        assert max(far for what, far in of.items() if not what.startswith("gradient")) < 0.05, arch


@pytest.mark.slow
def test_one_rank_of_a_machine_reads_the_images(two: Path, one: Path):
    images = sum(n for classes in COUNTS.values() for n in classes.values())
    reads = [int((two / f"reads-{rank}").read_text()) for rank in range(2)]
    assert reads[0] + int((one / "reads-0").read_text()) >= images  # for the scan and the canvases
    assert reads[1] == 0


OPTIONS = ("--weights", "none", "--epochs", 1, "--set", "image_px=32", "--set", "precision=fp32")


@pytest.mark.long
def test_one_speaks_and_writes_for_all(discs: Path, tmp_path: Path):
    words = ("resnet18", "--data", discs, "--out", tmp_path / "runs", *OPTIONS)
    done = ranked.train(*words, ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy") == 1
    assert done.stderr.count("45 training, 18 validation and 9 test images") == 1
    assert done.stderr.count("epoch 1/1: train loss") == 1
    assert done.stderr.count("run: ") == 1
    (folder,) = (tmp_path / "runs").glob("resnet18-*")
    names = sorted(p.name for p in folder.iterdir() if p.name != ".lock")
    assert names == ["DONE", "history.csv", "model.safetensors", "predictions.parquet", "run.json"]


@pytest.mark.long
def test_a_finished_run_is_told_once_and_not_repeated(discs: Path, tmp_path: Path):
    words = ("resnet18", "--data", discs, "--out", tmp_path, *OPTIONS)
    alone = ranked.train(*words, "--json", ranks=1)
    (folder,) = tmp_path.glob("resnet18-*")
    times = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    again = ranked.train(*words, "--json", ranks=2)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == json.loads(alone.stdout)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == times


@pytest.mark.long
def test_a_run_that_diverges_ends_all_ranks_with_one_message(discs: Path, tmp_path: Path):
    words = ("resnet18", "--data", discs, "--out", tmp_path, *OPTIONS, "--lr", "1e9")
    done = ranked.train(*words, ranks=2)
    assert done.returncode != 0
    assert done.stderr.count("diverged") == 1, done.stderr
    assert done.stderr.count("Traceback") == 1  # torchrun's own
    (folder,) = tmp_path.glob("resnet18-*")
    assert Run.open(folder).card["status"] == "failed"
    assert "diverged" in Run.open(folder).card["reason"]


@pytest.mark.parametrize(
    "rank", [pytest.param(0, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.slow)]
)
def test_what_stops_one_rank_stops_all_and_stands_in_the_card(discs: Path, tmp_path: Path, rank: int):
    ends = {"rank": rank, "how": "refused", "epoch": 2, "step": 2}
    done = ranked.work(tmp_path, discs, [job("batch norm", ends=ends)], ranks=2)
    assert done.returncode != 0
    assert done.stderr.count("the disk of this rank is gone") == 1, done.stderr
    assert "cannot go on without" not in done.stderr
    (folder,) = tmp_path.glob("resnet18-*")
    card = Run.open(folder).card
    assert (card["status"], card["reason"]) == ("failed", "the disk of this rank is gone")


@pytest.mark.parametrize(
    "rank",
    [
        pytest.param(0, marks=pytest.mark.long),
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(2, marks=pytest.mark.long),
    ],
)
def test_a_killed_rank_ends_the_run_with_a_sentence_and_the_same_command_goes_on(
    cells: Path, one: Path, tmp_path: Path, rank: int
):
    ends = {"rank": rank, "how": "killed", "epoch": 2, "step": 3}
    done = ranked.work(tmp_path, cells, [job("batch norm", ends=ends)], ranks=3)
    assert done.returncode != 0
    assert done.stderr.count("cannot go on without the others") == 1, done.stderr
    assert done.stderr.count("the same command goes on from the last checkpoint") == 1
    (folder,) = tmp_path.glob("resnet18-*")
    assert Run.open(folder).card["status"] == "running"
    again = ranked.work(tmp_path, cells, [job("batch norm")], ranks=3)
    assert again.returncode == 0, again.stderr
    run = Run.open(folder)
    assert run.card["timings"]["resumed"] == 1
    compare(run, Run.open(one / folder.name))


@pytest.mark.long
def test_ranks_end_with_a_torchrun_that_is_told_to(discs: Path, tmp_path: Path):
    options = [10_000 if option == 1 else option for option in OPTIONS]  # epochs: it cannot end before
    words = ("squeezenet1_1", "--data", discs, "--out", tmp_path, *options, "--device", "cpu")
    with subprocess.Popen(
        ranked.command("-m", "hemoscope", "train", *words, ranks=2),
        stderr=subprocess.PIPE,
        text=True,
        env=ranked.surroundings(),
    ) as launcher:
        assert launcher.stderr is not None
        assert any("epoch 2/10000" in line for line in launcher.stderr)  # read up to there
        launcher.terminate()
        rest = launcher.stderr.read()  # ranks hold it, so this ends when the last of them has
    assert launcher.returncode != 0
    assert rest.count("the same command goes on from the last checkpoint") == 1, rest
    (folder,) = tmp_path.glob("squeezenet1_1-*")
    assert Run.open(folder).card["status"] == "running"
    assert (folder / "checkpoint.safetensors").is_file()


def test_a_wrong_name_is_told_once(discs: Path, tmp_path: Path):
    done = ranked.train("resnet81", "--data", discs, "--out", tmp_path, ranks=2)
    assert done.returncode != 0
    assert done.stderr.count("unknown architecture 'resnet81'; did you mean") == 1, done.stderr


@pytest.mark.long
def test_a_folder_in_use_is_refused_by_all(cells: Path, one: Path, tmp_path: Path):
    name = next(one.glob("resnet18-*-s0-*")).name
    with lock_folder(tmp_path / name):
        done = ranked.work(tmp_path, cells, [job("batch norm")], ranks=2)
    assert done.returncode != 0
    assert done.stderr.count("in use by another process") == 1, done.stderr
    assert not (tmp_path / name / "run.json").exists()


@pytest.mark.long
def test_a_sweep_is_not_for_torchrun(discs: Path, tmp_path: Path):
    words = (
        "-m",
        "hemoscope",
        "benchmark",
        "--data",
        discs,
        "--out",
        tmp_path / "runs",
        "--arch",
        "resnet18",
    )
    done = ranked.start(*words, "--device", "cpu", ranks=2)
    assert done.returncode != 0
    assert done.stderr.count("expected a sweep without torchrun") == 1, done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_process_alone_imports_nothing_for_others(one: Path):
    assert json.loads((one / "imported.json").read_text("utf-8")) == {"group": False, "modules": []}


@given(st.integers(0, 100), st.integers(1, 12))
def test_shares_are_contiguous_whole_and_even(n: int, world: int):
    shares = [list(range(n))[Ranks(rank, world).share(n)] for rank in range(world)]
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_only_torchrun_makes_ranks(monkeypatch: pytest.MonkeyPatch):
    words = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}
    for name, value in words.items():  # as SLURM scripts and other launchers set them
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert ranks_here() == ALONE
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    assert ranks_here() == Ranks(3, 4, 1, 2, 1)


def test_every_rank_has_a_gpu_of_its_own_or_the_cpu(monkeypatch: pytest.MonkeyPatch):
    second = Ranks(3, 4, 1, 2, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [second.device_name(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [second.device_name(name) for name in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    for name in ("cuda:0", "mps"):
        with pytest.raises(ConfigError, match=f"auto, cuda or cpu under torchrun.*got {name}"):
            second.device_name(name)
    assert Ranks(1, 2, 0, 1, 1).device_name("cuda:1") == "cuda:1"  # one a machine may choose
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        ConfigError, match=r"at most 1 ranks on this machine, one a GPU; got 2 \(--nproc-per-node\)"
    ):
        second.device_name("auto")
    assert ALONE.device_name("cuda:7") == "cuda:7"


@pytest.mark.parametrize("arch", [row.name for row in ARCHITECTURES])
def test_no_layer_of_an_architecture_sees_the_batch_but_those_that_are_made_to_share_it(arch: str):
    kinds = {type(module) for module in skeleton(arch, 8).modules()}
    seeing = {
        kind
        for kind in kinds
        if issubclass(kind, (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd))
    }
    assert seeing <= {nn.BatchNorm2d, nn.Dropout}
    drawing = {kind for kind in kinds if any(word in kind.__name__ for word in ("Depth", "Noise", "Drop"))}
    assert drawing <= {nn.Dropout}
    assert {getattr(m, "drop_rate", 0) for m in skeleton(arch, 8).modules()} == {0}  # DenseNet's, a function
