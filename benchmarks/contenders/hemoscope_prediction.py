"""hemoscope from JPEG files to a CSV. Usage: python hemoscope_prediction.py DATA ARCH TIMES [PRECISION]."""

import csv
import sys
import tempfile
from pathlib import Path

import torch
from plain import arguments
from prediction import CLASSES, files_of, report

from hemoscope.models.build import build
from hemoscope.models.registry import get_arch
from hemoscope.predict.network import Network
from hemoscope.predict.stream import predict_images
from hemoscope.training.device import Device, choose_device, resolve_precision, tune


def main() -> None:
    """Predict all files; print images per second."""
    root, arch, times = arguments()
    wanted = sys.argv[4] if len(sys.argv) > 4 else "auto"
    device = choose_device("auto")
    tune(device)
    precision = resolve_precision(wanted, device)  # type: ignore[arg-type]
    image_px, canvas_px = get_arch(arch).sides_px(None, None)
    model = build(arch, len(CLASSES)).to(device).eval()
    where = Device(torch.device(device), precision)
    network = Network(model, CLASSES, image_px, canvas_px, "black", "center_crop", where, get_arch(arch).head)
    files = files_of(root, times)

    def predict(paths: list[Path]) -> None:
        with tempfile.TemporaryFile("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", *CLASSES])
            for path, answer in zip(paths, predict_images(network, paths), strict=True):
                writer.writerow([path, *(() if answer.probs is None else answer.probs[0].tolist())])

    report(predict, files, precision=precision)


if __name__ == "__main__":
    main()
