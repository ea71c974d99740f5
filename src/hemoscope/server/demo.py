"""The demo: a small model of drawn cells, and a drawn smear to review. Made once and kept in the cache folder.

Drawn cells show how the page works and say nothing about blood.
"""

from __future__ import annotations

import io
import secrets
import zipfile
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image
from sqlalchemy import func, select

from hemoscope.data.synthetic import draw_cell, write_dataset
from hemoscope.files import atomic_path, lock_folder
from hemoscope.packing.calibrate import Goals
from hemoscope.packing.pack import pack
from hemoscope.places import available_cores
from hemoscope.progress import Progress
from hemoscope.server.clock import now
from hemoscope.server.disk import write_synced
from hemoscope.server.site import Site
from hemoscope.server.store.store import Store
from hemoscope.server.store.tables import SlideRow, UploadRow
from hemoscope.training.recipe import load_recipe
from hemoscope.training.run import prepare, run_job

__all__ = ["DEMO_SLIDE", "fill_demo", "make_demo_model"]

ARCH, PER_CLASS, SIZE_PX, EPOCHS, SEED = "mobilenet_v2", 96, 96, 8, 0
VERSION = 1  # raised where what is kept in the cache would no longer be made so
CELL_PX, SMEAR_SEED = 160, 7
DEMO_SLIDE = "Demo smear (drawn cells)"
SMEAR = MappingProxyType(
    {
        "neutrophil": 118,
        "lymphocyte": 52,
        "monocyte": 15,
        "eosinophil": 7,
        "basophil": 2,
        "ig": 6,
        "erythroblast": 5,
        "platelet": 11,
    }
)


def make_demo_model(folder: Path, progress: Progress | None = None) -> Path:
    """Return the demo's bundle, trained on drawn cells at the first call; a call that was killed goes on.

    Args:
        folder: Of the cache.
        progress: Called with what is done, how much, and of how much.
    """
    made = folder / f"demo-{VERSION}.hemo"
    with lock_folder(folder, wait=True):
        if made.is_file():
            return made
        cells = folder / "cells"
        if not cells.is_dir():
            write_dataset(
                cells,
                per_class=PER_CLASS,
                size_px=SIZE_PX,
                seed=SEED,
                jobs=available_cores(),
                progress=progress,
            )
        run = run_job(
            ARCH,
            load_recipe("demo", epochs=EPOCHS),
            prepare(cells, progress=progress),
            seed=SEED,
            out=folder / "runs",
            device_name="cpu",
            progress=progress,
            command="hemoscope serve --demo",
        )
        # So few validation cells promise little; with 10 % the demo accepts most cells and doubts some.
        pack([run], made, goals=Goals(error_rate=0.1), data=cells, device_name="cpu", progress=progress)
    return made


def fill_demo(site: Site, folder: Path, progress: Progress | None = None) -> None:
    """Begin a slide of drawn cells, where the store has none; they come in as an uploaded archive."""
    with site.store.read() as session:
        if session.scalar(select(func.count()).select_from(SlideRow)):
            return
    archive = folder / f"smear-{VERSION}.zip"
    if not archive.is_file():
        with lock_folder(folder, wait=True), atomic_path(archive) as part:
            part.write_bytes(_smear(progress))
    content = archive.read_bytes()
    upload = secrets.token_hex(16)
    write_synced(site.uploads.path(upload, "smear.zip"), content)
    _begin(site.store, site.facts["digest"], upload, len(content))
    site.uploads.wake()


def _begin(store: Store, model: str, upload: str, size: int) -> None:
    with store.write() as session:
        slide = SlideRow(title=DEMO_SLIDE, white_count=7.4, model=model, created=now(), by="demo")
        session.add(slide)
        session.flush()
        session.add(
            UploadRow(
                id=upload,
                slide=slide.id,
                name="smear.zip",
                bytes=size,
                received=size,
                status="whole",
                created=now(),
            )
        )


def _smear(progress: Progress | None) -> bytes:
    """Return a zip of a drawn smear's cells, in a mixed order and under names that do not tell the class."""
    names = [name for name, n in SMEAR.items() for _ in range(n)]
    order = np.random.default_rng(SMEAR_SEED).permutation(len(names))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number, i in enumerate(order, start=1):
            pixels = draw_cell(names[i], size_px=CELL_PX, rng=np.random.default_rng([SMEAR_SEED, int(i)]))
            jpeg = io.BytesIO()
            Image.fromarray(pixels).save(jpeg, "JPEG", quality=92)
            archive.writestr(f"cell_{number:04d}.jpg", jpeg.getvalue())
            if progress:
                progress("drawing the smear", number, len(names))
    return buffer.getvalue()
