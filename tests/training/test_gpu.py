"""What only a GPU can answer, in one call: make test ARGS="-m gpu". Elsewhere it skips and says why.

Graphs against eager steps, precision, evaluation, a rate that changes under a graph, a second device,
and a run that was stopped. Where rounding may differ, tolerances are those of the precision.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hemoscope.data.augment import Augmentation, draw_affine, view_affine
from hemoscope.data.canvas import Canvas
from hemoscope.models.build import build
from hemoscope.models.registry import ARCHITECTURES, get_arch
from hemoscope.predict.network import load_run
from hemoscope.predict.stream import predict_images
from hemoscope.runs import Run
from hemoscope.training.batches import Batches, upload
from hemoscope.training.device import Device, Precision, tune
from hemoscope.training.epochs import WARM_UP, Clock, DeviceEpochs
from hemoscope.training.loop import Watcher
from hemoscope.training.objective import Objective
from hemoscope.training.recipe import Recipe
from hemoscope.training.run import Prepared, run_job
from hemoscope.training.step import predict_probs, train_step
from tests.training import ranked

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU, CPU = torch.device("cuda"), torch.device("cpu")
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 5e-2}
# Part of the way: rounding alone changes 0.13 on an H200 and 0.14 on a CPU, a rate that is never set 0.74.
MOVED = 0.3
BATCH, N = 8, 53  # six whole batches and one of five


@pytest.fixture(autouse=True)
def _tuned() -> None:
    tune(GPU)


def canvas_of(n: int, canvas_px: int) -> Canvas:
    pixels = np.random.default_rng(1).integers(0, 256, (n, canvas_px, canvas_px, 3), dtype=np.uint8)
    return Canvas(pixels, {})


def trained(
    how: str, arch: str, precision: Precision, rates: list[float], image_px: int | None = None
) -> tuple[np.ndarray, Tensor]:
    """Return the loss of every step, an epoch a rate, and how far training moved the weights."""
    image_px, canvas_px = get_arch(arch).sides_px(image_px, None)
    canvas = canvas_of(N, canvas_px)
    model = build(arch, 4, seed=0).to(GPU).train()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    lr = torch.tensor(rates[0], device=GPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, fused=True)
    step = partial(
        train_step, model, optimizer, objective=Objective(aux_weight=0.4), device=Device(GPU, precision)
    )
    batches = Batches(canvas, image_px, "black", GPU)
    batches.resident = None if how == "fed" else upload(canvas, GPU)
    epochs = DeviceEpochs(batches, step, n=N, batch_size=BATCH, clock=Clock(), graph=how != "eager")
    rng, losses = np.random.default_rng(2), []
    torch.manual_seed(3)
    for rate in rates:
        lr.fill_(rate)
        order = rng.permutation(N)
        matrices = draw_affine(N, rng, canvas_px=canvas_px, image_px=image_px, augmentation=Augmentation())
        losses.append(epochs.run(order, matrices, order % 4, lambda *_: None)[0].cpu().numpy())
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    return np.concatenate(losses), after - before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arch", [row.name for row in ARCHITECTURES])
def test_the_graph_gives_the_eager_step_s_numbers(arch: str, precision: Precision):
    # At a rate that hardly moves the weights, because training multiplies rounding from step to step: weights
    # nudged by 1e-7 change Inception's losses by 7 % at a rate of 1e-5 and by 0.03 % here, and the way by 8 %.
    # Other dropout than the eager step's moves VGG-11 another way, by 143 %.
    eager, moved = trained("eager", arch, precision, [1e-7] * 2)
    for how in ("graph", "fed"):
        losses, moved_too = trained(how, arch, precision, [1e-7] * 2)
        np.testing.assert_allclose(losses, eager, rtol=TOLERANCE[precision], err_msg=how)
        if precision == "fp32":
            assert (moved_too - moved).norm() < MOVED * moved.norm(), how


def test_a_rate_that_changes_reaches_the_graph_also_in_the_last_smaller_batch():
    # The last batch is captured in its fourth epoch; in the fifth and sixth both graphs are replayed.
    rates = [1e-4] * (WARM_UP + 1) + [1e-3, 0.0]
    eager, moved = trained("eager", "vgg11", "fp32", rates, image_px=64)
    graph, moved_too = trained("graph", "vgg11", "fp32", rates, image_px=64)
    np.testing.assert_allclose(graph, eager, rtol=5e-2)  # weights nudged by 1e-6: 1.5 %; other dropout: 25 %
    assert (moved_too - moved).norm() < MOVED * moved.norm()
    still = trained("graph", "vgg11", "fp32", [*rates, 0.0, 0.0], image_px=64)[1]
    assert (still - moved_too).norm() < MOVED * moved.norm()


def test_fp32_has_the_fraction_of_fp32_and_not_of_tf32():
    draw = torch.Generator().manual_seed(0)
    images, weight = torch.randn(4, 64, 32, 32, generator=draw), torch.randn(64, 64, 3, 3, generator=draw)
    exact = torch.nn.functional.conv2d(images.double(), weight.double())
    here = torch.nn.functional.conv2d(images.to(GPU), weight.to(GPU)).cpu().double()
    assert (here - exact).abs().max() < 1e-5 * exact.abs().max()  # TF32: 3e-4
    square = torch.randn(512, 512, generator=draw)
    product = (square.to(GPU) @ square.to(GPU)).cpu().double()
    exact = square.double() @ square.double()
    assert (product - exact).abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize("arch", ["inception_v3", "resnet18"])
def test_evaluation_sees_the_same_pixels_in_every_precision(arch: str):
    image_px, canvas_px = get_arch(arch).sides_px(None, None)
    canvas, rows = canvas_of(N, canvas_px), np.arange(N)
    views = view_affine(N, canvas_px=canvas_px, image_px=image_px, view="center_crop")
    want = Batches(canvas, image_px, "black", CPU).images(rows, views)
    batches = Batches(canvas, image_px, "black", GPU)
    for precision in ("fp32", "bf16"):
        with Device(GPU, precision).autocast():
            got = batches.images(rows, views)
        torch.testing.assert_close(got.cpu(), want, rtol=1e-6, atol=1e-6)
    model = build(arch, 4, seed=0).to(GPU).eval()
    exact = predict_probs(model, batches, rows, device=Device(GPU, "fp32"), view="center_crop")
    quick = predict_probs(model, batches, rows, device=Device(GPU, "bf16"), view="center_crop", batch_size=7)
    on_cpu = predict_probs(
        model.cpu(),
        Batches(canvas, image_px, "black", CPU),
        rows,
        device=Device(CPU, "fp32"),
        view="center_crop",
    )
    np.testing.assert_allclose(exact, on_cpu, atol=TOLERANCE["fp32"])
    np.testing.assert_allclose(quick, on_cpu, atol=TOLERANCE["bf16"])


RECIPE = Recipe(weights="none", epochs=5, batch_size=8, lr=0.02, image_px=32, precision="bf16")


def learn(prepared: Prepared, out: Path, **options: Any):
    return run_job("resnet18", RECIPE, prepared, seed=0, out=out, **{"device_name": GPU.type, **options})


def test_a_run_says_on_what_it_was_made_and_answers_alike_on_cpu(prepared: Prepared, tmp_path: Path):
    run = learn(prepared, tmp_path)
    machine = run.card["machine"]
    assert machine["device"] == GPU.type
    assert machine["driver"]
    assert machine["cudnn"]
    assert run.card["peak_device_memory_mib"] > 0
    said = run.predictions("test")
    assert said.n_errors <= 1  # 9 discs of three colours
    files = [prepared.manifest.root / path for path in said.paths]
    for device in (GPU, CPU):
        network = load_run(run, device_name=device.type, precision="fp32")
        probs = np.stack([a.probs[0] for a in predict_images(network, files) if a.probs is not None])
        np.testing.assert_allclose(probs, said.probs, atol=TOLERANCE["bf16"])


def test_a_stopped_run_goes_on_to_the_same_place(prepared: Prepared, tmp_path: Path):
    class Stop(Watcher):
        def on_epoch(self, row: Any, epochs: int) -> None:
            if row.epoch == 3:
                raise KeyboardInterrupt

    whole = learn(prepared, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learn(prepared, tmp_path / "twice", watcher=Stop())
    twice = learn(prepared, tmp_path / "twice")
    assert twice.card["timings"]["resumed"] == 1
    losses: Callable[[Any], list[float]] = lambda run: [row.train_loss for row in run.history]  # noqa: E731
    np.testing.assert_allclose(
        losses(twice), losses(whole), rtol=0.2, atol=0.02
    )  # bf16, algorithms picked anew


@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_what_goes_beyond_the_paper_is_captured_too(prepared: Prepared, tmp_path: Path, mixup: float):
    """Averages, smoothing, a rate a step and another size are in the graph; mixing draws numbers of its own."""
    changes = {
        "name": "best",
        "epochs": 12,  # the average follows late: after 5 it errs on 3 of the 9, on any device
        "precision": "fp32",
        "schedule": "warm_cosine",
        "ema": 0.8,
        "label_smoothing": 0.1,
        "head_lr": 2.0,
        "image_px": 40,
        "small_px": 32,
        "small_epochs": 2,
        "views": 8,
        "mixup": mixup,
    }
    recipe = Recipe.model_validate(RECIPE.model_dump() | changes)
    there = run_job("resnet18", recipe, prepared, seed=0, out=tmp_path / "gpu", device_name="cuda")
    assert there.predictions("test").n_errors <= 1
    if not mixup:
        here = run_job("resnet18", recipe, prepared, seed=0, out=tmp_path / "cpu", device_name="cpu")
        # Later epochs multiply rounding; one thread more changes the first by 2 %.
        assert there.history[0].train_loss == pytest.approx(here.history[0].train_loss, rel=0.1)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("arch", ["resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_two_devices_train_one_run_to_the_numbers_of_one(discs: Path, tmp_path: Path, arch: str):
    """NCCL, torch's own synchronised batch normalisation, and steps without a graph, beside one device with one."""
    recipe = RECIPE.model_copy(
        update={"precision": "fp32", "epochs": 2, "lr": 0.001, "mixup": 0.2, "class_weights": "balanced"}
    )
    jobs = [{"arch": arch, "recipe": recipe.model_dump()}]
    for name, ranks in (("one", 1), ("two", 2)):
        done = ranked.work(tmp_path / name, discs, jobs, ranks=ranks, device="cuda")
        assert done.returncode == 0, done.stderr
    one, two = (Run.open(next((tmp_path / name).glob(f"{arch}-*"))) for name in ("one", "two"))
    assert (two.card["machine"]["ranks"], two.card["machine"]["backend"]) == (2, "nccl")
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=10 * TOLERANCE["fp32"])
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=10 * TOLERANCE["fp32"])
    for side in ("val", "test"):
        np.testing.assert_allclose(
            two.predictions(side).probs, one.predictions(side).probs, atol=10 * TOLERANCE["fp32"]
        )


@pytest.mark.skipif(torch.cuda.device_count() < 3, reason="needs three CUDA devices")
def test_a_device_that_has_no_image_of_a_small_batch_joins_in(discs: Path, tmp_path: Path):
    recipe = RECIPE.model_copy(update={"epochs": 1, "batch_size": 2, "mixup": 0.2})
    jobs = [{"arch": "mobilenet_v2", "recipe": recipe.model_dump()}]
    done = ranked.work(tmp_path, discs, jobs, ranks=3, device="cuda")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_second_device_trains_what_the_first_one_trains(prepared: Prepared, tmp_path: Path):
    first = learn(prepared, tmp_path / "first", device_name="cuda:0")
    second = learn(prepared, tmp_path / "second", device_name="cuda:1")
    assert second.predictions("test").n_errors <= 1
    assert second.history[-1].train_loss == pytest.approx(first.history[-1].train_loss, rel=0.2, abs=0.02)
