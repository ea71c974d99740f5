"""Counted operations agree with published figures, and rates are positive."""

from __future__ import annotations

import pytest
import torch

from hemoscope.training.device import Device
from hemoscope.training.utilisation import forward_flops, matmul_flops_per_s


@pytest.mark.parametrize(
    ("arch", "image_px", "giga_multiply_adds"),
    # torchvision's table of GFLOPS of its weights, which counts multiply-adds.
    [
        ("alexnet", 224, 0.71),
        ("vgg16", 224, 15.47),
        ("resnet50", 224, 4.09),
        ("inception_v3", 299, 5.71),
        ("squeezenet1_1", 224, 0.35),
        ("mobilenet_v2", 224, 0.30),
    ],
)
def test_operations_are_two_for_each_published_multiply_add(arch, image_px, giga_multiply_adds):
    assert forward_flops(arch, 1000, image_px) / 2e9 == pytest.approx(giga_multiply_adds, abs=0.012)


def test_fewer_classes_and_a_single_layer_cost_less():
    assert forward_flops("vgg16", 8, 224) < forward_flops("vgg16", 1000, 224)
    assert forward_flops("vgg16", 8, 224, head="single_layer") < forward_flops("vgg16", 8, 224)


def test_the_rate_of_a_matrix_product_is_its_operations_by_the_clock(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 4.0, 10.0, 10.5, 20.0, 23.0, 30.0, 33.0, 40.0, 43.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    # 1,024 to the third multiply-adds in the half second of the fastest
    assert matmul_flops_per_s(Device(torch.device("cpu"), "fp32")) == pytest.approx(2 * 1024**3 / 0.5)
