"""A model asked about the same cells clean, damaged in every way, and on other backgrounds.

Every image is decoded once and damaged at its own size, on the device of the networks; then it goes the way of every
image, through the same resizing as in `hemoscope evaluate`. Blocks of images bound the memory, whatever their number.
A model that frames nuclei is asked at the camera that it would find in a folder of the images as they were damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from hemoscope.stress.cameras import Cameras, cameras_of
from hemoscope.stress.damaged import DAMAGED, damaged
from hemoscope.stress.grounds import TESTS, Grounds, look, tried
from hemoscope.stress.result import CLEAN, NOT_ASKED, Condition, Example, Stressed, Subject
from hemoscope.stress.sample import Sample, blocks_of, choose, load
from hemoscope.training.device import choose_device

__all__ = ["ALEXNET", "LIMIT", "stress"]

ALEXNET = "alexnet"
LIMIT = 25
"""Images of each class that are tried, unless another number is asked for."""


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
    conditions: list[Condition] = [CLEAN, *DAMAGED, *((name, 0) for name in TESTS)]
    n = len(sample.images)
    preds = {condition: np.full((len(names), n), NOT_ASKED, dtype=np.int64) for condition in conditions}
    torch_device = choose_device(device)
    cameras = [cameras_of(one, sample, seed=seed, device=torch_device, progress=progress) for one in asked]
    shown = _Shown(sample, grounds, seed, torch_device, progress)
    for condition, place, said in _answers(asked, cameras, shown.images()):
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
        cameras=cameras[0],
        example=shown.example or Example(load(manifest, sample.images[:1])[0], sample.images[0].hash, {}),
    )


_Image = tuple[Condition, int, NDArray[np.uint8]]
"""How it was damaged, its place in the sample, and its pixels."""


@dataclass
class _Shown:
    """Every image that is shown, made when it is asked for.

    Attributes:
        example: A cell that took part in the background tests; None where there was none.
    """

    sample: Sample
    grounds: Grounds
    seed: int
    device: torch.device
    progress: Progress | None
    example: Example | None = None

    def images(self) -> Iterator[_Image]:
        """Yield the images of one block after the other, under every condition in turn."""
        every = self.sample.images
        for places in blocks_of(every):
            pixels = load(self.sample.manifest, [every[i] for i in places])
            contents = [every[i].hash for i in places]
            yield from _named(CLEAN, places, pixels)
            for condition in DAMAGED:
                changed = damaged(pixels, condition, contents, seed=self.seed, device=self.device)
                yield from _named(condition, places, changed)
            tests = tried(self.sample, self.grounds, places, pixels)
            for name, (parts, changed) in tests.items():
                yield from _named((name, 0), parts, changed)
            self.example = self.example or _example(self.grounds, places, pixels, contents, tests)
            if self.progress:
                self.progress("asking about damaged cells", places[-1] + 1, len(every))


def _named(
    condition: Condition, places: Sequence[int], images: Sequence[NDArray[np.uint8]]
) -> Iterator[_Image]:
    return ((condition, place, image) for place, image in zip(places, images, strict=True))


def _answers(
    asked: Sequence[Scorable], cameras: Sequence[Cameras], images: Iterator[_Image]
) -> Iterator[tuple[Condition, int, IntArray]]:
    """Yield for every image the classes that every network and every vote predict, shape (S,)."""

    def seen_at(image: _Image) -> list[float | None]:
        return [each[image[0]] for each in cameras]

    for nuclei_px, alike in groupby(images, key=seen_at):  # of one camera at once, in whole batches
        asks = [what.at_nucleus(px) for what, px in zip(asked, nuclei_px, strict=True)]
        named, *copies = tee(alike, len(asked) + 1)  # hold what one has taken and another not yet: a batch
        given = (ask(image for _, _, image in copy) for ask, copy in zip(asks, copies, strict=True))
        for said, (condition, place, _) in zip(zip(*given, strict=True), named, strict=True):
            rows: list[IntArray] = []
            for what, (answer, _) in zip(asked, said, strict=True):
                if answer.probs is None:
                    raise DataError(f"an image could not be asked about: {answer.error}; run again")
                if len(answer.probs) > 1:
                    rows.append(answer.probs.argmax(axis=1))
                rows.append(combine(answer.probs[:, None], what.vote)[0])
            yield condition, place, np.concatenate(rows)


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
