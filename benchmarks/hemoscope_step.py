"""Ourselves, measured like the peer: the training path of hemoscope over some batches.

Usage: python benchmarks/hemoscope_step.py DATA ARCH BATCHES [REPEAT]
REPEAT makes the canvas that many times longer, to see what memory does.
"""

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hemoscope.data.augment import Augmentation, draw_affine
from hemoscope.data.canvas import Canvas, open_canvas
from hemoscope.data.scan import scan
from hemoscope.models.build import build
from hemoscope.training.device import Device, choose_device, resolve_precision
from hemoscope.training.step import Batches, train_step


def repeated(canvas: Canvas, times: int, folder: Path) -> Canvas:
    """Return the canvas `times` over, again as a memory map."""
    if times == 1:
        return canvas
    n = len(canvas.pixels)
    pixels = np.lib.format.open_memmap(
        folder / "many.npy", mode="w+", dtype=np.uint8, shape=(n * times, *canvas.pixels.shape[1:])
    )
    for i in range(times):
        pixels[i * n : (i + 1) * n] = canvas.pixels
    pixels.flush()
    del pixels
    return replace(canvas, pixels=np.load(folder / "many.npy", mmap_mode="r"))


def main() -> None:
    """Train some batches after three to warm up; print images per second and where the time went."""
    root, arch, n_batches = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    manifest = scan(root)
    times = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    folder = Path(sys.argv[5]) if len(sys.argv) > 5 else Path()
    canvas = repeated(open_canvas(manifest, 256), times, folder)
    torch_device = choose_device("auto")
    device = Device(torch_device, resolve_precision("auto", torch_device))
    model = build(arch, len(manifest.classes)).to(torch_device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, fused=True)
    batches = Batches(canvas, 224, "black", torch_device)
    rng = np.random.default_rng(0)
    begun, data_s, step_s = 0, 0.0, 0.0
    for step in range(n_batches + 3):
        if step == 3:
            data_s = step_s = 0.0
            begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows = rng.integers(len(canvas.pixels), size=32)
        start = time.perf_counter()
        matrices = draw_affine(32, rng, canvas_px=256, image_px=224, augmentation=Augmentation())
        images = batches.images(rows, matrices)
        target = torch.from_numpy(rng.integers(len(manifest.classes), size=32)).to(torch_device)
        middle = time.perf_counter()
        train_step(model, optimizer, images, target, device=device)
        data_s, step_s = data_s + middle - start, step_s + time.perf_counter() - middle
    status = Path("/proc/self/status")
    anonymous = (
        [line for line in status.read_text().splitlines() if line.startswith("RssAnon")]
        if status.exists()
        else []
    )
    result = {
        "images_per_s": n_batches * 32 / (data_s + step_s),
        "data_share_of_step": data_s / step_s,
        "precision": device.precision,
        "canvas_images": len(canvas.pixels),
        "anonymous_mib": int(anonymous[0].split()[1]) // 1024 if anonymous else None,
        "peak_mib_at_start": begun // 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
