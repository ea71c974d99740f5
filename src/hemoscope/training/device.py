"""Which device and precision a run uses, and what machine that is."""

from __future__ import annotations

import contextlib
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from hemoscope.errors import ConfigError
from hemoscope.places import available_cores

__all__ = ["Device", "choose_device", "describe_machine", "limit_threads", "resolve_precision"]

Precision = Literal["fp32", "bf16"]


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
    kind = name.partition(":")[0]
    if kind not in available:
        raise ConfigError(f"expected a device auto, cuda, cuda:N, mps or cpu; got {name!r}")
    if not available[kind]:
        there = ", ".join(k for k, v in available.items() if v)
        raise ConfigError(f"the device {name!r} is not on this machine; here: {there}")
    return torch.device(name)


def resolve_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """Return the precision to compute in; `auto` is bf16 where the hardware has it, else fp32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"
    return "fp32"


def limit_threads() -> None:
    """Let torch use no more threads than cores are really ours: it counts them without a container's quota."""
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))


def describe_machine(device: Device) -> dict[str, object]:
    """Return what a run card says about the machine."""
    kind = device.torch_device.type
    name = torch.cuda.get_device_name(device.torch_device) if kind == "cuda" else _processor()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gib": _memory_gib(),
        "device": kind,
        "device_name": name,
        "precision": device.precision,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    import os

    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return None
