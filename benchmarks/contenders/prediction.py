"""What the prediction contenders share: the files, the stopwatch, and writing a CSV from a plain loader."""

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from plain import MEAN, STD, Stopwatch, is_image, sides_px
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

CLASSES = tuple("abcdefgh")


def files_of(root: Path, times: int) -> list[Path]:
    """Return every image file, `times` over."""
    found = sorted(path for path in root.glob("*/*") if path.is_file() and is_image(str(path)))
    return found * times


class Files(Dataset):
    """Decoded, resized, cropped and normalised by PIL and torchvision."""

    def __init__(self, paths: list[Path], arch: str) -> None:
        image_px, canvas_px = sides_px(arch)
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.Resize(canvas_px),
                transforms.CenterCrop(image_px),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        image: Any = Image.open(self.paths[row]).convert("RGB")
        return self.transform(image)


def loader_of(paths: list[Path], arch: str) -> DataLoader:
    """Return batches of 32 by one worker a core."""
    return DataLoader(Files(paths, arch), batch_size=32, num_workers=len(os.sched_getaffinity(0)))


def write_csv(paths: list[Path], probs: Iterator[Tensor]) -> None:
    """Write a line an image."""
    with tempfile.TemporaryFile("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *CLASSES])
        names = iter(paths)
        for batch in probs:
            for line in batch.tolist():
                writer.writerow([next(names), *line])


def report(predict: Callable[[list[Path]], None], files: list[Path], *, precision: str = "fp32") -> None:
    """Warm up on some files, then time all of them; print a record as JSON."""
    predict(files[:64])
    watch = Stopwatch()
    watch.start()
    predict(files)
    print(json.dumps({**watch.stop(len(files)), "precision": precision, "images": len(files)}))
