"""Whether a run is still worth going on with: its losses, and what it says of the validation images."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from hemoscope.errors import TrainingError
from hemoscope.records import Predictions
from hemoscope.training.job import Job

__all__ = ["DivergedError", "check_alive", "check_losses", "diverged"]

# The loss of guessing is ln(classes). A hundred times that is not a bad start but a lost run.
DIVERGED = 100.0


class DivergedError(Exception):
    """The loss of a step, counted from 1, is not below the limit."""

    def __init__(self, step: int, loss: float, limit: float) -> None:
        self.step, self.loss, self.limit = step, loss, limit


def check_losses(losses: Tensor, n_classes: int) -> None:
    """Look at the losses of an epoch's steps.

    Raises:
        DivergedError: If one is not finite or far beyond that of guessing.
    """
    values = losses.cpu().numpy()
    limit = DIVERGED * np.log(n_classes)
    bad = np.flatnonzero(~(values < limit))  # NaN compares false
    if bad.size:
        raise DivergedError(int(bad[0]) + 1, float(values[bad[0]]), float(limit))


def diverged(job: Job, epoch: int, error: DivergedError) -> str:
    """Return the message for a run whose loss diverged."""
    return (
        f"{job.name} diverged in epoch {epoch}, step {error.step}: the loss is {error.loss:.4g}, expected less than "
        f"{error.limit:.0f}; try a lower rate (--set lr={job.recipe.lr / 10:g}) or --set precision=fp32"
    )


def check_alive(val: Predictions, job: Job, epoch: int) -> None:
    """Look at what a network says of the validation images.

    Raises:
        TrainingError: If it says the same of all of them, though they differ.
    """
    # A ReLU after the classifier (SqueezeNet's) or a last layer without input passes no gradient back.
    # A probability of exactly 1 is another thing: a softmax out of its range, which training can mend.
    if len(val) > 1 and np.ptp(val.probs, axis=0).max() == 0 and val.probs.max() < 1 and _differ(job):
        raise TrainingError(
            f"{job.name} died in epoch {epoch}: it gives all {len(val):,} validation images the same probabilities "
            f"and cannot learn any more; try a lower rate (--set lr={job.recipe.lr / 10:g}) or another seed"
        )


def _differ(job: Job) -> bool:
    """Whether the validation images are more than copies of one, which any network says the same of."""
    paths = {row.path for row in job.split.side("val")}
    return len({image.pixel_hash for image in job.manifest.images if image.path in paths}) > 1
