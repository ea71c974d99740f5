"""Which device and precision a run uses, and what machine that is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from hemoscope.errors import ConfigError
from hemoscope.places import DEVICE_NAMES, available_cores, is_device_name

__all__ = ["Device", "choose_device", "cpu_capability", "describe_machine", "resolve_precision", "tune"]

# From the GNU C library's malloc.h; the values are C ints.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**30

_WIDTHS = ("default", "avx2", "avx512", "avx512_bf16", "amx_bf16")  # of arithmetic, narrow to wide
# Values of ONEDNN_MAX_CPU_ISA that leave no AMX. Source: oneDNN, CPU Dispatcher Control.
_ONEDNN_WIDTHS = {
    **dict.fromkeys(("SSE41", "AVX"), "default"),
    **dict.fromkeys(("AVX2", "AVX2_VNNI", "AVX2_VNNI_2"), "avx2"),
    **dict.fromkeys(("AVX512_CORE", "AVX512_CORE_VNNI"), "avx512"),
    **dict.fromkeys(("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"), "avx512_bf16"),
}

Precision = Literal["fp32", "bf16"]
Wanted = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class Device:
    """A device and the precision to compute in on it."""

    torch_device: torch.device
    precision: Precision

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which forward passes run."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, dtype=torch.bfloat16)


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; `auto` takes cuda, then mps, then cpu.

    Raises:
        ConfigError: If the name is none of these or the device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not is_device_name(name):
        raise ConfigError(f"expected a device {DEVICE_NAMES}; got {name!r}")
    kind = name.partition(":")[0]
    if not available[kind]:
        there = ", ".join(k for k, v in available.items() if v)
        raise ConfigError(f"the device {name!r} is not on this machine; here: {there}")
    device = torch.device(name)
    if kind == "cuda" and (device.index or 0) >= (n := torch.cuda.device_count()):
        raise ConfigError(f"the device {name!r} is not on this machine; it has {n}, numbered from cuda:0")
    return device


def resolve_precision(wanted: Wanted, device: torch.device) -> Precision:
    """Return the precision to compute in; `auto` is bf16 where the hardware has it, else fp32.

    Raises:
        ConfigError: If it is none of these.
    """
    if wanted not in get_args(Wanted):
        raise ConfigError(f"expected a precision {', '.join(get_args(Wanted))}; got {wanted!r}")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if cpu_capability() in ("avx512_bf16", "amx_bf16") else "fp32"
    return "fp32"


def tune(device: torch.device) -> None:
    """Let torch use what this process really has of a device, and let fp32 be fp32.

    CUDA: the device becomes the current one, for streams and graphs belong to that; libraries try which
    algorithm is fastest for a shape; TF32, which keeps 10 bits of the fraction, is off.

    Threads: torch counts a machine's cores, not a container's quota. Memory: activations of a batch are
    larger than what the GNU allocator keeps, so every step would map, clear and unmap them again; told
    to keep up to 1 GiB, SqueezeNet 1.1 trains 1.4 times as fast (docs/decisions/0007). Does nothing where
    the C library is another.
    """
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def cpu_capability() -> str:
    """Return the widest arithmetic torch uses on this processor, which its name does not tell.

    `avx2`, `avx512`, `avx512_bf16` or `amx_bf16` on x86, torch's own name (`neon`, `default`) elsewhere.
    Two libraries compute and each can be held back by the environment, ATen by ATEN_CPU_CAPABILITY and
    oneDNN by ONEDNN_MAX_CPU_ISA; the narrower one counts.
    """
    widest = torch.backends.cpu.get_cpu_capability().lower()  # ATen's, as held back
    has = torch.cpu.get_capabilities()  # the processor's own
    if widest == "avx512" and has.get("avx512_bf16"):
        widest = "avx512_bf16"
    if widest.startswith("avx512") and has.get("amx_bf16"):
        widest = "amx_bf16"
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
    limit = _ONEDNN_WIDTHS.get(allowed.upper(), widest)  # oneDNN, too, ignores what it does not know
    return min(widest, limit, key=_WIDTHS.index) if widest in _WIDTHS else widest


def describe_machine(device: Device) -> dict[str, object]:
    """Return what a run card says about the machine."""
    kind = device.torch_device.type
    name = torch.cuda.get_device_name(device.torch_device) if kind == "cuda" else _processor()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "capability": cpu_capability(),
        "cores": available_cores(),
        "memory_gib": _memory_gib(),
        "device": kind,
        "device_name": name,
        "precision": device.precision,
        "threads": torch.get_num_threads(),
        **({"driver": _driver(), "cudnn": torch.backends.cudnn.version()} if kind == "cuda" else {}),
    }


def _driver() -> str | None:
    """Return the version of NVIDIA's driver; None where the system does not say."""
    file = Path("/proc/driver/nvidia/version")
    found = (
        re.search(r"Kernel Module.*?(\d+(?:\.\d+)+)", file.read_text("utf-8", "replace"))
        if file.is_file()
        else None
    )
    return found[1] if found else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return None
