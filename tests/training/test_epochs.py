"""An epoch gives the same numbers batch by batch on the host and on the device; on a GPU: test_gpu.py."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from hemoscope.data.augment import Augmentation, draw_affine, view_affine
from hemoscope.data.canvas import Canvas
from hemoscope.models.build import build
from hemoscope.training.batches import Batches, upload
from hemoscope.training.device import Device
from hemoscope.training.epochs import Clock, DeviceEpochs, HostEpochs
from hemoscope.training.objective import Objective
from hemoscope.training.step import train_step

CPU = torch.device("cpu")


def canvas_of(n: int, canvas_px: int) -> Canvas:
    pixels = np.random.default_rng(1).integers(0, 256, (n, canvas_px, canvas_px, 3), dtype=np.uint8)
    return Canvas(pixels, {})


def losses_of(how: str, canvas: Canvas, matrices, *, image_px: int, rate=0.001):
    """Train two epochs; return the losses of every step, the right predictions, and all weights."""
    n, device = len(canvas.pixels), CPU
    model = build("resnet18", 4, seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, fused=True)
    step = partial(train_step, model, optimizer, objective=Objective(), device=Device(device, "fp32"))
    batches = Batches(canvas, image_px, "black", device)
    clock = Clock()
    if how == "host":
        epochs = HostEpochs(batches, step, batch_size=8, clock=clock)
    else:
        batches.resident = None if how == "fed" else upload(canvas, device)
        epochs = DeviceEpochs(batches, step, n=n, batch_size=8, clock=clock)
    rng = np.random.default_rng(2)
    torch.manual_seed(3)
    losses, rights, heard = [], [], []
    for _ in range(2):
        order = rng.permutation(n)
        values, right = epochs.run(
            order, matrices[order], order % 4, lambda done, seen: heard.append((done, len(seen)))
        )
        losses.append(values.cpu().numpy())
        rights.append(int(right))
    steps = -(-n // 8)
    assert heard == [(i, i) for i in range(1, steps + 1)] * 2
    assert clock.seconds["step_s"] > 0
    weights = torch.cat([p.detach().float().cpu().flatten() for p in model.parameters()]).numpy()
    return np.concatenate(losses), rights, weights


@pytest.mark.parametrize("how", ["device", "fed"])
@pytest.mark.parametrize("n", [40, 45])  # whole batches, and a smaller last one
def test_the_device_s_epoch_is_the_host_s_to_the_bit_where_the_pixels_are(how: str, n: int):
    canvas = canvas_of(n, 40)
    views = view_affine(n, canvas_px=40, image_px=32, view="center_crop")  # no interpolation
    want, want_right, want_weights = losses_of("host", canvas, views, image_px=32)
    got, right, weights = losses_of(how, canvas, views, image_px=32)
    np.testing.assert_array_equal(got, want)
    assert right == want_right
    np.testing.assert_array_equal(weights, want_weights)


def test_with_warps_both_differ_by_rounding_of_grey_levels_only():
    canvas = canvas_of(40, 40)
    draws = draw_affine(
        40, np.random.default_rng(0), canvas_px=40, image_px=32, augmentation=Augmentation(crop="random")
    )
    # At a rate that hardly moves the weights, because training doubles a difference in a few steps.
    want, _, _ = losses_of("host", canvas, draws, image_px=32, rate=1e-6)
    got, _, _ = losses_of("device", canvas, draws, image_px=32, rate=1e-6)
    np.testing.assert_allclose(got, want, rtol=0.02)


def test_a_step_that_was_not_done_has_no_loss(monkeypatch: pytest.MonkeyPatch):
    canvas = canvas_of(16, 40)
    views = view_affine(16, canvas_px=40, image_px=32, view="center_crop")
    batches = Batches(canvas, 32, "black", CPU)
    batches.resident = upload(canvas, CPU)

    def step(images: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(()), torch.zeros((), dtype=torch.int64)

    epochs = DeviceEpochs(batches, step, n=16, batch_size=8, clock=Clock())
    given = np.arange(16), views, np.arange(16) % 4, lambda *_: None
    assert epochs.run(*given)[0].tolist() == [1, 1]
    monkeypatch.setattr(epochs, "_body", lambda size: None)  # as a graph captured on another device
    assert epochs.run(*given)[0].isnan().all()
