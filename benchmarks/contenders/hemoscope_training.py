"""hemoscope's own training path over some batches, and its ceiling.

Usage: python hemoscope_training.py DATA ARCH BATCHES [MODE] [PRECISION] [TIMES]
MODE `end` trains from the canvas; `ceiling` does the same steps on one batch that already lies on the
device. TIMES makes the canvas that many times longer, to see what size does to time and memory.
"""

import json
import resource
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from plain import WARM_UP, Stopwatch, arguments
from torch import Tensor

from hemoscope.data.augment import Augmentation, draw_affine
from hemoscope.data.canvas import Canvas, open_canvas
from hemoscope.data.scan.scan import scan
from hemoscope.models.build import build
from hemoscope.models.registry import get_arch
from hemoscope.training.batches import Batches
from hemoscope.training.device import Device, choose_device, resolve_precision, tune
from hemoscope.training.epochs import WARM_UP as GRAPH_WARM_UP
from hemoscope.training.epochs import Clock, DeviceEpochs, HostEpochs
from hemoscope.training.objective import Objective
from hemoscope.training.step import train_step


def repeated(canvas: Canvas, times: int, folder: Path) -> Canvas:
    """Return the canvas `times` over, again as a memory map."""
    if times == 1:
        return canvas
    n = len(canvas.pixels)
    shape = (n * times, *canvas.pixels.shape[1:])
    pixels = np.lib.format.open_memmap(folder / "many.npy", mode="w+", dtype=np.uint8, shape=shape)
    for i in range(times):
        pixels[i * n : (i + 1) * n] = canvas.pixels
    pixels.flush()
    del pixels
    return replace(canvas, pixels=np.load(folder / "many.npy", mmap_mode="r"))


def main() -> None:
    """Train; print images per second, the data plane's share of a step, and memory."""
    root, arch, n_batches = arguments()
    mode, precision, times = [*sys.argv[4:], *("end", "auto", "1")[len(sys.argv) - 4 :]]
    image_px, canvas_px = get_arch(arch).sides_px(None, None)
    manifest = scan(root)
    torch_device = choose_device("auto")
    tune(torch_device)
    device = Device(torch_device, resolve_precision(precision, torch_device))  # type: ignore[arg-type]
    model = build(arch, len(manifest.classes)).to(torch_device).train()
    lr = torch.tensor(0.001, device=torch_device) if torch_device.type == "cuda" else 0.001
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, fused=True)
    step = partial(train_step, model, optimizer, objective=Objective(aux_weight=0.4), device=device)
    warm_up = GRAPH_WARM_UP + 2 if torch_device.type == "cuda" else WARM_UP
    n = (n_batches + warm_up) * 32
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        canvas = repeated(open_canvas(manifest, canvas_px), int(times), Path(folder))
        batches = Batches(canvas, image_px, "black", torch_device)
        rng = np.random.default_rng(0)
        rows, target = rng.integers(len(canvas.pixels), size=n), rng.integers(8, size=n)
        draws = draw_affine(n, rng, canvas_px=canvas_px, image_px=image_px, augmentation=Augmentation())
        if mode == "ceiling":
            images, truth = (
                batches.images(rows[:32], draws[:32]),
                torch.from_numpy(target[:32]).to(torch_device),
            )
            record = ceiling(partial(step, images, truth), n_batches, warm_up)
            print(json.dumps({**record, "precision": device.precision, "batches": n_batches}))
            return
        watch = Stopwatch()

        def on_step(done: int, _: Tensor) -> None:
            if done == warm_up:
                clock.seconds.update(data_s=0.0, step_s=0.0)
                watch.start()

        if torch_device.type == "cuda":
            epochs = DeviceEpochs(batches, step, n=n, batch_size=32, clock=clock)
        else:
            epochs = HostEpochs(batches, step, batch_size=32, clock=clock)
        epochs.run(rows, draws, target, on_step)
        result = {
            **watch.stop(n_batches * 32),
            "data_share_of_step": clock.seconds["data_s"] / clock.seconds["step_s"],
            "precision": device.precision,
            "batches": n_batches,
            "canvas_images": len(canvas.pixels),
            "anonymous_mib": anonymous_mib(),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    print(json.dumps(result))


def ceiling(step: partial, n_batches: int, warm_up: int) -> dict[str, float | None]:
    """Return the rate of the step alone; on CUDA as a graph, as in training."""
    run = step
    if torch.cuda.is_available():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(warm_up):
                step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    for _ in range(warm_up):
        run()
    watch = Stopwatch()
    watch.start()
    for _ in range(n_batches):
        run()
    return watch.stop(n_batches * 32)


def anonymous_mib() -> int | None:
    """Return the memory that belongs to this process alone, without memory maps."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = [line for line in status.read_text().splitlines() if line.startswith("RssAnon")]
    return int(lines[0].split()[1]) // 1024 if lines else None


if __name__ == "__main__":
    main()
