"""A model of eight classes of blood that has learned nothing: quick to make, and of every opinion."""

from __future__ import annotations

from pathlib import Path

import torch

from hemoscope.bundle.card import BundleCard, Calibration, MemberCard, Preprocessing
from hemoscope.bundle.file import Bundle
from hemoscope.models.build import build
from hemoscope.predict.model import Model, on_device
from tests.server.pictures import noise

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")


def make_small_model(nucleus_px: float | None = None) -> Model:
    """A SqueezeNet with random weights at 64 px; some of its answers are accepted, some for review, some unknown.

    It frames cells by their nuclei where it is told how large those were in training.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    known = torch.nn.functional.normalize(torch.rand(16, 512, generator=generator), dim=1)
    trust = Calibration(
        n_val=800,
        temperature=0.05,
        review_below=None,
        error_rate=0.01,
        conformal_score=0.9,
        coverage=0.99,
        unknown_above=3,
        unknown_share=0.01,
        confusion=tuple(tuple(90 if i == j else 1 for j in range(8)) for i in range(8)),
        measured={},
    )
    square = Preprocessing(
        image_px=64,
        canvas_px=64,
        view="full_image",
        fill="black",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        nucleus_px=nucleus_px,
    )
    member = MemberCard(
        run="random",
        arch="squeezenet1_1",
        head="replace_last",
        preprocessing=square,
        recipe={},
        seed=0,
        digest="0" * 64,
        parameters=1,
        pretrained={},
    )
    card = BundleCard(
        name="random",
        classes=CLASSES,
        members=(member,),
        vote="soft",
        chosen="",
        data={},
        split={},
        scores={},
        calibration=trust,
        intended_use="",
        limits=(),
        versions={},
        created="",
    )

    tmp = Path()

    def model(card: BundleCard) -> Model:
        network = build("squeezenet1_1", 8, seed=0).eval()
        return on_device(Bundle(tmp, card, (network,), {}, {}, "d" * 64, (known,)), "cpu", "fp32")

    said = list(model(card).judge([noise(i) for i in range(30)]))
    sure = sorted(max(v.probs) for v in said)
    far = sorted(v.distance for v in said)
    chosen = trust.model_copy(update={"review_below": float(sure[12]), "unknown_above": float(far[20])})
    return model(card.model_copy(update={"calibration": chosen}))
