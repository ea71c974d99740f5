"""The peer: the same recipe as people write it with torchvision alone.

ImageFolder, PIL transforms, DataLoader with one worker a core, fp32. Usage:
python benchmarks/plain_torchvision.py DATA ARCH BATCHES
"""

import json
import os
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms


def replace_head(model: nn.Module, arch: str, n_classes: int) -> None:
    """Give torchvision's network another last layer."""
    if arch.startswith("squeezenet"):
        model.classifier[1] = nn.Conv2d(512, n_classes, kernel_size=1)  # type: ignore[index,operator]
    elif arch.startswith(("resnet", "wide_resnet", "resnext")):
        model.fc = nn.Linear(model.fc.in_features, n_classes)  # type: ignore[union-attr,arg-type]
    elif arch == "mobilenet_v2":
        model.classifier[1] = nn.Linear(1280, n_classes)  # type: ignore[index,operator]
    else:
        sys.exit(f"this script knows no head for {arch}")


def main() -> None:
    """Train some batches after three to warm up; print images per second as JSON."""
    root, arch, n_batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
    transform = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(60, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    data = datasets.ImageFolder(root, transform, is_valid_file=lambda path: "/." not in path)
    many = torch.utils.data.ConcatDataset([data] * (1 + (n_batches + 3) * 32 // len(data)))
    loader = DataLoader(many, batch_size=32, shuffle=True, num_workers=len(os.sched_getaffinity(0)))
    model = models.get_model(arch, weights=None)
    replace_head(model, arch, len(data.classes))
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    loss_of = nn.CrossEntropyLoss()
    start = time.perf_counter()
    for step, (images, target) in enumerate(loader):
        if step == 3:
            start = time.perf_counter()
        if step == 3 + n_batches:
            break
        optimizer.zero_grad()
        loss = loss_of(model(images), target)
        loss.backward()
        optimizer.step()
    print(json.dumps({"images_per_s": n_batches * 32 / (time.perf_counter() - start)}))


if __name__ == "__main__":
    main()
