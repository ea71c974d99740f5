"""A model asked about the same cells clean, damaged in every way, and on other backgrounds.

Every image is decoded once and damaged at its own size, on the device of the networks; then it goes the way of every
image, through the same resizing as in `hemoscope evaluate`. Blocks of images bound the memory, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, tee
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hemoscope.data.class_map import ClassMap
from hemoscope.ensemble.vote import combine
from hemoscope.errors import ConfigError, DataError
from hemoscope.predict.scorable import Scorable
from hemoscope.progress import Progress
from hemoscope.records import IntArray, Manifest, Side
from hemoscope.stress.corruptions import corrupt
from hemoscope.stress.grounds import TESTS, Grounds, look, tried
from hemoscope.stress.result import CLEAN, NOT_ASKED, Condition, Example, Stressed, Subject
from hemoscope.stress.sample import Sample, blocks_of, choose, load
from hemoscope.stress.severities import CORRUPTIONS, SEVERITIES
from hemoscope.training.device import choose_device

__all__ = ["ALEXNET", "LIMIT", "stress"]

ALEXNET = "alexnet"
LIMIT = 25
"""Images of each class that are tried, unless another number is asked for."""

_DAMAGED: list[Condition] = [
    (corruption.name, severity) for corruption in CORRUPTIONS for severity in SEVERITIES
]


def stress(
    what: Scorable,
    manifest: Manifest,
    *,
    reference: Scorable | None = None,
    given: ClassMap | None = None,
    side: Side | None = None,
    limit: int = LIMIT,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Stressed:
    """Ask about labelled cells clean, under every corruption at every severity, and in every background test.

    Args:
        what: Whom to ask; each of its networks is told apart, and their vote.
        manifest: Labelled images.
        reference: One network that errors are set against; by default an AlexNet among the members.
        given: What a person has decided of the data's classes.
        side: Only images of this side of the model's own split.
        limit: Images a class; 0 for all.
        seed: Of the choice of images and of every draw.
        device: Where images are damaged.
        progress: Called with (what is done, done, in all).

    Raises:
        ConfigError: If an option does not hold, or the reference knows other classes.
        DataError: If a class is undecided, no image remains, or one cannot be read.
    """
    if reference and reference.classes != what.classes:
        raise ConfigError(
            f"the reference knows {', '.join(reference.classes)}; expected the model's classes, {', '.join(what.classes)}"
        )
    sample = choose(what, manifest, given=given, side=side, limit=limit, seed=seed)
    grounds = look(sample, seed=seed, progress=progress)
    members = [(member.name, str(member.card.get("arch", ""))) for member in what.members]
    names = members if len(members) == 1 else [*members, (what.name, "")]
    among = next((i for i, (_, arch) in enumerate(members) if arch == ALEXNET), None)
    asked = [what]
    if reference:
        own = reference.members[0].name
        among = next((i for i, (name, _) in enumerate(members) if name == own), None)
        if among is None:
            asked.append(reference)
            among = len(names)
            names.append((own, str(reference.members[0].card.get("arch", ""))))
    conditions: list[Condition] = [CLEAN, *_DAMAGED, *((name, 0) for name in TESTS)]
    n = len(sample.images)
    preds = {condition: np.full((len(names), n), NOT_ASKED, dtype=np.int64) for condition in conditions}
    shown = _Shown(sample, grounds, seed, choose_device(device), progress)
    for i, said in enumerate(_answers(asked, shown.images())):
        condition, place = shown.order[i]
        preds[condition][:, place] = said
    return Stressed(
        root=Path(manifest.root),
        classes=what.classes,
        target=sample.target,
        subjects=tuple(
            Subject(name, arch, {condition: found[row] for condition, found in preds.items()})
            for row, (name, arch) in enumerate(names)
        ),
        reference=among,
        no_reference=""
        if among is not None
        else "no AlexNet is among the networks; --reference RUN names one",
        side=side,
        limit=limit,
        seed=seed,
        radius=grounds.radius,
        usable=grounds.usable,
        no_second=grounds.no_second,
        class_map=sample.class_map,
        seen=sample.seen,
        example=shown.example or Example(load(manifest, sample.images[:1])[0], sample.images[0].hash, {}),
    )


@dataclass
class _Shown:
    """Every image that is shown, made when it is asked for.

    Attributes:
        order: Condition and place in the sample of every image that was given, in order.
        example: A cell that took part in the background tests; None where there was none.
    """

    sample: Sample
    grounds: Grounds
    seed: int
    device: torch.device
    progress: Progress | None
    order: list[tuple[Condition, int]] = field(default_factory=list)
    example: Example | None = None

    def images(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the images of one block after the other, under every condition in turn."""
        every = self.sample.images
        for places in blocks_of(every):
            pixels = load(self.sample.manifest, [every[i] for i in places])
            contents = [every[i].hash for i in places]
            yield from self._noted(CLEAN, places, pixels)
            for condition in _DAMAGED:
                damaged = _damaged(pixels, condition, contents, seed=self.seed, device=self.device)
                yield from self._noted(condition, places, damaged)
            tests = tried(self.sample, self.grounds, places, pixels)
            for name, (parts, changed) in tests.items():
                yield from self._noted((name, 0), parts, changed)
            self.example = self.example or _example(self.grounds, places, pixels, contents, tests)
            if self.progress:
                self.progress("asking about damaged cells", places[-1] + 1, len(every))

    def _noted(
        self, condition: Condition, places: Sequence[int], images: Sequence[NDArray[np.uint8]]
    ) -> Iterator[NDArray[np.uint8]]:
        for place, image in zip(places, images, strict=True):
            self.order.append((condition, place))
            yield image


def _answers(asked: Sequence[Scorable], images: Iterator[NDArray[np.uint8]]) -> Iterator[IntArray]:
    """Yield for every image the classes that every network and every vote predict, shape (S,)."""
    copies = tee(images, len(asked))  # hold what one model has been given and another not yet: a batch
    given = (what.ask(copy) for what, copy in zip(asked, copies, strict=True))
    for said in zip(*given, strict=True):
        rows: list[IntArray] = []
        for what, (answer, _) in zip(asked, said, strict=True):
            if answer.probs is None:
                raise DataError(f"an image could not be asked about: {answer.error}; run again")
            if len(answer.probs) > 1:
                rows.append(answer.probs.argmax(axis=1))
            rows.append(combine(answer.probs[:, None], what.vote)[0])
        yield np.concatenate(rows)


def _damaged(
    pixels: Sequence[NDArray[np.uint8]],
    condition: Condition,
    contents: Sequence[str],
    *,
    seed: int,
    device: torch.device,
) -> list[NDArray[np.uint8]]:
    """Return images damaged, those of one size at once."""
    found: list[NDArray[np.uint8]] = [*pixels]
    order = sorted(range(len(pixels)), key=lambda i: pixels[i].shape)
    for _, alike in groupby(order, key=lambda i: pixels[i].shape):
        places = list(alike)
        batch = torch.from_numpy(np.stack([pixels[i] for i in places])).permute(0, 3, 1, 2).to(device)
        damaged = corrupt(batch, *condition, [contents[i] for i in places], seed=seed)
        for i, image in zip(places, damaged.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
            found[i] = np.ascontiguousarray(image)
    return found


def _example(
    grounds: Grounds,
    places: Sequence[int],
    pixels: Sequence[NDArray[np.uint8]],
    contents: Sequence[str],
    tests: Mapping[str, tuple[list[int], list[NDArray[np.uint8]]]],
) -> Example | None:
    """Return the first cell of a block that took part in most tests; None if no cell was found."""
    usable = [place for place in places if grounds.usable[place]]
    if not usable:
        return None
    best = max(usable, key=lambda place: sum(place in parts for parts, _ in tests.values()))
    at = list(places).index(best)
    shown = {name: changed[parts.index(best)] for name, (parts, changed) in tests.items() if best in parts}
    return Example(pixels[at], contents[at], shown)
