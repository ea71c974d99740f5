"""What the peers share: torchvision's network with another last layer, a training step, a stopwatch."""

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

WARM_UP = 2
UNTOLD = "tf32" if torch.cuda.is_available() else "fp32"  # what torch computes in where a script says nothing
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def arguments() -> tuple[Path, str, int]:
    """Return DATA, ARCH and BATCHES from the command line."""
    return Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def sides_px(arch: str) -> tuple[int, int]:
    """Return the side of the input and of the picture it is cut from."""
    return (299, 342) if arch == "inception_v3" else (224, 256)


def network(arch: str, n_classes: int) -> nn.Module:
    """Return torchvision's network with `n_classes` outputs."""
    options = {"aux_logits": True, "init_weights": False} if arch == "inception_v3" else {}
    model: Any = models.get_model(arch, weights=None, **options)
    if arch.startswith("squeezenet"):
        model.classifier[1] = nn.Conv2d(512, n_classes, kernel_size=1)
    elif arch.startswith("densenet"):
        model.classifier = nn.Linear(model.classifier.in_features, n_classes)
    elif hasattr(model, "fc"):
        model.fc = nn.Linear(model.fc.in_features, n_classes)
    else:
        model.classifier[-1] = nn.Linear(model.classifier[-1].in_features, n_classes)
    if arch == "inception_v3":
        model.AuxLogits.fc = nn.Linear(model.AuxLogits.fc.in_features, n_classes)
    return model.to(DEVICE)


def training_folder(root: Path, arch: str) -> ImageFolder:
    """Return the images with the recipe's transforms, as torchvision's users write them."""
    image_px, canvas_px = sides_px(arch)
    transform = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(60, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.Resize(canvas_px),
            transforms.CenterCrop(image_px),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return ImageFolder(str(root), transform, is_valid_file=is_image)


def is_image(path: str) -> bool:
    """Tell an image from a file that an operating system left."""
    return not Path(path).name.startswith(".")


def loss_of(out: object, target: Tensor) -> Tensor:
    """Return the loss, with Inception's auxiliary part."""
    entropy = nn.functional.cross_entropy
    if isinstance(out, Tensor):
        return entropy(out, target)
    return entropy(out.logits, target) + 0.4 * entropy(out.aux_logits, target)  # type: ignore[attr-defined]


def train(
    model: nn.Module, loader: Iterable, n_batches: int, *, fused: bool = False, precision: str = UNTOLD
) -> None:
    """Train some batches after a warm-up, by default with a plain step; print a record as JSON."""
    model.train()
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, fused=fused)
    watch = Stopwatch()
    for step, (images, target) in enumerate(loader):
        if step == WARM_UP:
            watch.start()
        if step == WARM_UP + n_batches:
            break
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(model(images.to(DEVICE, non_blocking=True)), target.to(DEVICE, non_blocking=True))
        loss.backward()
        optimizer.step()
    print(json.dumps({**watch.stop(n_batches * 32), "precision": precision, "batches": n_batches}))


class Stopwatch:
    """Tells images per second, and how many cores other processes kept busy meanwhile."""

    def start(self) -> None:
        """Start, or start again."""
        wait()
        self._others_s, self._began = others_s(), time.perf_counter()

    def stop(self, n_images: int) -> dict[str, float | None]:
        """Return what a record says of the time since the start; None where a system does not tell."""
        wait()
        elapsed_s = time.perf_counter() - self._began
        others = others_s()
        cores = None
        if others is not None and self._others_s is not None:
            cores = round(max(0.0, others - self._others_s) / elapsed_s, 2)
        return {"images_per_s": n_images / elapsed_s, "other_cores": cores}


def others_s() -> float | None:
    """Return the core seconds spent outside this process group, or taken from the machine by its host."""
    if not Path("/proc/stat").exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    ticks = user + nice + system + irq + softirq + steal
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[2]) == os.getpgrp():
            ticks -= sum(map(int, fields[11:15]))  # of itself, and of its children that have ended
    return ticks / os.sysconf("SC_CLK_TCK")


def wait() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
