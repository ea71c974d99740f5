"""Peer (c): Lightning's Trainer around the same DataLoader, with its defaults where they matter."""

# pyright: reportMissingImports=false
# Its libraries are in the group `bench`, which the checks do without.

import json
import logging
import os
import warnings

import lightning as pl
import torch
from plain import DEVICE, UNTOLD, WARM_UP, Stopwatch, arguments, loss_of, network, training_folder
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader


class Module(pl.LightningModule):
    """The network with the recipe's loss and optimiser."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        images, target = batch
        return loss_of(self.model(images), target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.001, momentum=0.9)


class StartAfterWarmUp(pl.Callback):
    """Starts a stopwatch after the warm-up."""

    watch = Stopwatch()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object, **__: object) -> None:
        """Start the clock once the warm-up is over."""
        if trainer.global_step == WARM_UP:
            self.watch.start()


def main() -> None:
    """Train; print images per second."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    root, arch, n_batches = arguments()
    data = training_folder(root, arch)
    many = ConcatDataset([data] * (2 + (n_batches + WARM_UP) * 32 // len(data)))
    workers = len(os.sched_getaffinity(0))
    loader = DataLoader(many, batch_size=32, shuffle=True, num_workers=workers, pin_memory=True)
    after_warm_up = StartAfterWarmUp()
    trainer = pl.Trainer(
        accelerator="gpu" if DEVICE.type == "cuda" else "cpu",
        devices=1,
        max_steps=n_batches + WARM_UP,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[after_warm_up],
    )
    trainer.fit(Module(network(arch, len(data.classes))), loader)
    record = after_warm_up.watch.stop(n_batches * 32)
    print(json.dumps({**record, "precision": UNTOLD, "batches": n_batches}))


if __name__ == "__main__":
    main()
