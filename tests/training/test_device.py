"""Devices: only what is there, fp32 that is fp32, and peaks of memory that belong to one piece of work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hemoscope.errors import ConfigError
from hemoscope.sweep.local import side_by_side
from hemoscope.training.checkpoint import Pace
from hemoscope.training.device import Device, choose_device, describe_machine, tune
from hemoscope.training.memory import forget_peaks, peak_device_memory_mib, peak_memory_mib


def test_a_gpu_that_is_not_there_is_refused_by_its_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r"'cuda:2' is not on this machine; it has 2, numbered from cuda:0"):
        choose_device("cuda:2")
    with pytest.raises(ConfigError, match="cuda:N"):
        choose_device("cuda:x")


def test_on_cuda_the_device_asked_for_becomes_the_current_one_and_tf32_is_off(
    monkeypatch: pytest.MonkeyPatch,
):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    try:
        cudnn.allow_tf32 = matmul.allow_tf32 = True
        tune(torch.device("cuda", 1))
        assert chosen == [torch.device("cuda", 1)]
        assert (cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32) == (True, False, False)
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


def test_runs_share_a_gpu_only_where_nvidia_s_service_lets_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (78 * 2**30, 80 * 2**30))
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert side_by_side(16 * 2**30, "cuda") == 1
    (tmp_path / "control").touch()
    assert side_by_side(16 * 2**30, "cuda") == 4  # 78 GiB, 16 a run
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert side_by_side(16 * 2**30, "auto") == 12
    assert side_by_side(16 * 2**30, "cuda:2") == 4
    (tmp_path / "control").unlink()
    assert side_by_side(16 * 2**30, "auto") == 3
    assert side_by_side(16 * 2**30, "cuda:2") == 1


def test_the_peak_of_memory_is_that_of_the_work_and_not_of_the_process():
    size_mib = 300

    def peak_with(block_mib: int) -> int:
        forget_peaks(torch.device("cpu"))
        block = np.ones(block_mib * 2**20, np.uint8)
        peak = peak_memory_mib()
        assert peak is not None
        del block
        return peak

    first = peak_with(size_mib)
    if not Path("/proc/self/clear_refs").is_file() or peak_with(0) == first:
        pytest.skip("this system does not let a process forget its peak")
    assert peak_with(0) < first - 0.5 * size_mib
    assert peak_with(size_mib) > peak_with(0) + 0.5 * size_mib


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="only Linux says so in this place")
def test_the_machine_is_described_in_the_units_that_are_named():
    told = describe_machine(Device(torch.device("cpu"), "fp32"))
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert told["memory_gib"] == pytest.approx(kib / 2**20, rel=0.05)
    assert told["device_name"] == told["processor"] != ""
    assert "driver" not in told
    peak = peak_memory_mib()
    assert peak is not None
    resource = pytest.importorskip("resource")
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10  # kibibytes on Linux
    pages = int(Path("/proc/self/statm").read_text().split()[1])  # now; the peak may have been forgotten
    now = pages * resource.getpagesize() // 2**20
    assert 0.9 * now <= peak <= 1.1 * largest
    assert peak_device_memory_mib(torch.device("cpu")) is None


def test_saves_take_at_most_a_twentieth_of_the_time_where_they_take_seconds():
    pace = Pace()
    assert pace.due(0.0)  # the first epoch is safe at once
    pace.saved(0.0, 0.9)
    assert pace.due(0.9)  # cheap: after every epoch
    pace.saved(10.0, 12.0)
    assert not pace.due(51.9)
    assert pace.due(52.0)  # 2 s of 40
