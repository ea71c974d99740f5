"""Peer (a): the recipe as people write it with torchvision alone: ImageFolder, PIL, DataLoader."""

import os

from plain import WARM_UP, arguments, network, train, training_folder
from torch.utils.data import ConcatDataset, DataLoader


def main() -> None:
    """Train; print images per second."""
    root, arch, n_batches = arguments()
    data = training_folder(root, arch)
    many = ConcatDataset([data] * (2 + (n_batches + WARM_UP) * 32 // len(data)))
    workers = len(os.sched_getaffinity(0))
    loader = DataLoader(many, batch_size=32, shuffle=True, num_workers=workers, pin_memory=True)
    train(network(arch, len(data.classes)), loader, n_batches)


if __name__ == "__main__":
    main()
