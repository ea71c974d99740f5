"""Model-FLOPs utilisation: how much of what a device can multiply goes into the network.

Operations are counted from the network's shapes, a multiply-add as two; the device's rate is that of a
large matrix product in the same precision, measured here and now. The share says how far a faster
step could still go; it is no property of the network.
"""

from __future__ import annotations

import time

import torch

from hemoscope.models.build import Head, skeleton
from hemoscope.training.device import Device

__all__ = ["forward_flops", "matmul_flops_per_s"]

REPEATS = 5


def forward_flops(arch: str, n_classes: int, image_px: int, *, head: Head = "replace_last") -> int:
    """Return the floating-point operations of one image's forward pass: convolutions and matrix products.

    A training step takes about three times as many: once forward, twice backward.

    >>> round(forward_flops("resnet18", 1000, 224) / 1e9, 2)  # 1.81 G multiply-adds
    3.63
    """
    from torch.utils.flop_counter import FlopCounterMode

    model = skeleton(arch, n_classes, head=head).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, image_px, image_px, device="meta"))
    return counter.get_total_flops()


def matmul_flops_per_s(device: Device) -> float:
    """Return the rate of the fastest of a few large matrix products on a device."""
    on_cuda = device.torch_device.type == "cuda"
    side = 8192 if on_cuda else 1024
    dtype = torch.bfloat16 if device.precision == "bf16" else torch.float32
    a = torch.ones(side, side, dtype=dtype, device=device.torch_device)
    fastest = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        product = a @ a
        product[0, 0].item()  # waits
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * side**3 / fastest
