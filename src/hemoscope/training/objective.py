"""What a step of training lowers: cross entropy, with what a recipe adds to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Objective"]


class Objective:
    """The loss of a batch, and the mixing of its images.

    Args:
        class_weights: Weight of each class, shape (C,), on the device.
        aux_weight: Share of the auxiliary head's loss (Inception v3).
        label_smoothing: Share of the target that is spread over all classes.
        lean: What the network is to add to its logits by itself, shape (C,), on the device: it is taken from them before the loss.
        mixup: Alpha of the Beta distribution that the share of a second image is drawn from, by torch's own
            generator; 0: no second image.
        device: Where the images are.

    Source:
        Szegedy et al., Rethinking the Inception Architecture, 2016 (smoothing); Zhang et al., mixup, 2018;
        Menon et al., Long-tail learning via logit adjustment, ICLR 2021 (lean).
    """

    def __init__(
        self,
        *,
        class_weights: Tensor | None = None,
        aux_weight: float = 0.0,
        label_smoothing: float = 0.0,
        lean: Tensor | None = None,
        mixup: float = 0.0,
        device: torch.device | None = None,
    ) -> None:
        self._class_weights = class_weights
        self._aux_weight = aux_weight
        self._label_smoothing = label_smoothing
        self._lean = lean
        # A CUDA graph cannot draw on the host; other devices lack the draw.
        on = device if device is not None and device.type == "cuda" else None
        alpha = torch.tensor(mixup, device=on)
        self._beta = torch.distributions.Beta(alpha, alpha) if mixup else None

    def mixed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return images, each with its share of the image at the other end of the batch, and that share."""
        if self._beta is None:
            return images, None
        share = self._beta.sample()
        if share.device.type != images.device.type:
            share = share.to(images.device)
        return self._own(images).lerp(self._partners(images), share), share

    def loss(self, out: Any, target: Tensor, share: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is lowered, the main head's part of it, and its logits.

        Args:
            out: What the network gave: logits, shape (N, C), or torchvision's pair of main and auxiliary ones.
            target: True classes, shape (N,).
            share: What `mixed` returned.
        """
        logits, aux = (out.logits, out.aux_logits) if hasattr(out, "aux_logits") else (out, None)
        main = self._of(logits, target, share)
        if aux is None:
            return main, main, logits
        return main + self._aux_weight * self._of(aux, target, share), main, logits

    def right(self, logits: Tensor, target: Tensor, share: Tensor | None) -> Tensor:
        """Return how many answers name the class of the image that has the larger share."""
        named = self._own(target)
        if share is not None:
            named = torch.where(share > 0.5, self._partners(target), named)
        return (logits.argmax(1) == named).sum()

    def _of(self, logits: Tensor, target: Tensor, share: Tensor | None) -> Tensor:
        loss = self._cross_entropy(logits, self._own(target))
        return (
            loss if share is None else loss.lerp(self._cross_entropy(logits, self._partners(target)), share)
        )

    def _own(self, values: Tensor) -> Tensor:
        """Return a batch's images or classes."""
        return values

    def _partners(self, values: Tensor) -> Tensor:
        """Return those that they are mixed with."""
        return values.flip(0)

    def _upright(self, logits: Tensor) -> Tensor:
        """Return logits without their lean, float32."""
        return logits.float() if self._lean is None else logits.float() - self._lean

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(
            self._upright(logits), target, weight=self._class_weights, label_smoothing=self._label_smoothing
        )
