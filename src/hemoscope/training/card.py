"""The run card, run.json: what was run, on what, by which versions, with what result.

Written once when training starts (status `running`) and once when it ends (`done` or `failed`).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from torch import nn

from hemoscope.errors import RunError
from hemoscope.evaluation.summary import score
from hemoscope.files import sha256_of, write_json
from hemoscope.models.weights import WeightsFile
from hemoscope.records import Manifest, Predictions, Problem, Split
from hemoscope.run_card import read_card
from hemoscope.runs import CARD, MODEL, PREDICTIONS
from hemoscope.training.device import Device, describe_machine
from hemoscope.training.job import Job
from hemoscope.training.memory import forget_peaks, peak_device_memory_mib, peak_memory_mib
from hemoscope.training.ranks import ALONE, Ranks
from hemoscope.training.utilisation import forward_flops, matmul_flops_per_s

__all__ = ["RunCard"]

PACKAGES = ("hemoscope", "torch", "torchvision", "numpy", "opencv-python-headless", "pillow")


class RunCard:
    """Collects run.json of one job; the main rank writes it."""

    def __init__(
        self,
        job: Job,
        folder: Path,
        *,
        left_out: tuple[Problem, ...] = (),
        second_acquisition: Mapping[str, int] | None = None,
        command: str = "",
        ranks: Ranks = ALONE,
    ) -> None:
        self._path = folder / CARD
        self._ranks = ranks
        manifest, split = job.manifest, job.split
        data = {
            "root": manifest.root,
            "digest": manifest.digest,
            "classes": manifest.classes,
            "counts": split.counts,
            "short_sides_px": manifest.short_sides_px,
            "converted": manifest.converted,
            "left_out": [{"level": p.level, "path": p.path, "what": p.what} for p in left_out],
            "second_acquisition": dict(second_acquisition or {}),
        }
        if manifest.source:
            data["source"] = manifest.source
        data |= _groups(manifest, split)
        self._card: dict[str, Any] = {
            "schema": 1,
            "name": job.name,
            "status": "running",
            "arch": job.arch,
            "seed": job.seed,
            "digest": job.digest,
            "recipe": job.recipe.model_dump(),
            "image_px": job.sides_px[0],
            "data": data,
            "split": {"digest": split.digest, "policy": split.policy, "seed": split.seed},
            "weights": {"source": job.recipe.weights},
            "versions": {"python": python_version()} | {name: _version(name) for name in PACKAGES},
            "command": command,
        }
        self._began: str | None = self._earlier("started_at")
        self._resumed = int((self._earlier("timings") or {}).get("resumed", 0))

    def pretrained(self, weights: WeightsFile, digest: str) -> None:
        """Say which ImageNet weights training starts from."""
        self._card["weights"] |= {"origin": weights.origin, "note": weights.note, "sha256": digest}

    def measured(self, nucleus_px: float) -> None:
        """Say how large the typical nucleus is that the images were framed by."""
        self._card["data"] |= {"nucleus_px": nucleus_px}

    def begin(self, *, device: Device, model: nn.Module, resumed_at: int) -> None:
        """Write the card of a run that is under way."""
        forget_peaks(device.torch_device)
        self._since = time.perf_counter()
        self._resumed += resumed_at > 0
        self._card |= {
            "parameters": sum(p.numel() for p in model.parameters()),
            "machine": describe_machine(device) | self._ranks.described(),
            "timings": {"resumed": self._resumed},
            "started_at": self._began or _now(),
        }
        self._write()

    def finish(
        self,
        *,
        val: Predictions,
        test: Predictions,
        seconds: Mapping[str, float],
        train_s: float,
        images: int,
        device: Device,
    ) -> None:
        """Write the card of a finished run, whose model and predictions are written.

        Args:
            val: Predictions on the validation images.
            test: Predictions on the test images.
            seconds: Of this process, by part.
            train_s: Of training epochs, over all processes that worked on the run.
            images: Training images seen, over all epochs.
            device: Where it was trained.
        """
        elapsed = time.perf_counter() - self._since
        if self._began:  # by an earlier process; between two there is only the clock, which may have been set
            by_clock = datetime.now(UTC) - datetime.fromisoformat(self._began)
            elapsed = max(elapsed, by_clock.total_seconds())
        self._card |= {
            "status": "done",
            "metrics": {"val": score(val).to_json(), "test": score(test).to_json()},
            "timings": {
                "elapsed_s": round(elapsed, 1),
                "train_s": round(train_s, 1),
                "images_per_s": round(images / train_s, 1),
                **{name: round(value, 2) for name, value in seconds.items()},
                "resumed": self._resumed,
            },
            "utilisation": self._utilisation(images / train_s, device),
            "peak_memory_mib": peak_memory_mib(),
            "peak_device_memory_mib": peak_device_memory_mib(device.torch_device),
            "files": {name: sha256_of(self._path.with_name(name)) for name in (MODEL, PREDICTIONS)},
            "finished_at": _now(),
        }
        self._write()

    def fail(self, reason: str) -> None:
        """Write the card of a run that could not go on."""
        self._card |= {"status": "failed", "reason": reason}
        if self._began:  # by an earlier process; this one may have stopped before it did
            self._card.setdefault("started_at", self._began)
        self._write()

    def _write(self) -> None:
        if self._ranks.main:
            write_json(self._path, self._card)

    def _utilisation(self, images_per_s: float, device: Device) -> dict[str, float]:
        card = self._card
        recipe = card["recipe"]
        sides = [recipe["small_px"] or card["image_px"]] * recipe["small_epochs"]
        sides += [card["image_px"]] * (recipe["epochs"] - len(sides))
        each = {
            side: forward_flops(card["arch"], len(card["data"]["classes"]), side, head=recipe["head"])
            for side in set(sides)
        }
        forward = round(sum(each[side] for side in sides) / len(sides))
        reached, peak = 3 * forward * images_per_s, self._ranks.world * matmul_flops_per_s(device)
        return {
            "model_flops_per_image": 3 * forward,
            "model_flops_per_s": round(reached),
            "matmul_flops_per_s": round(peak),
            "share": round(reached / peak, 4),
        }

    def _earlier(self, key: str) -> Any:
        try:
            return read_card(self._path, done=False).get(key)
        except (FileNotFoundError, RunError):
            return None


def _groups(manifest: Manifest, split: Split) -> dict[str, int]:
    """Return how many groups the split's images are of, and how many of them it parts; nothing where no image names one."""
    group_of = {image.path: image.group for image in manifest.images if image.group}
    sides: dict[str, set[str]] = defaultdict(set)
    for row in split.rows:
        if row.path in group_of:
            sides[group_of[row.path]].add(row.side)
    parted = sum(len(found) > 1 for found in sides.values())
    return {"groups": len(sides), "groups_on_two_sides": parted} if sides else {}


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
