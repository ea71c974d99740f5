"""Ask a bundle about millions of images on a Ray cluster, a Parquet file a shard.

A shard's file appears whole and is its own mark that it is done; its name holds a digest of what was asked. What was
killed goes on: shards that are there are counted, not asked again. Ray Data's own checkpoint is not used: every
reader holds all finished names in memory, 100 million of them here, and it knows nothing of the files that were written.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hemoscope.cluster import nodes
from hemoscope.data.camera import LOOKED_AT
from hemoscope.errors import ConfigError, DataError
from hemoscope.predict.model import Model, load
from hemoscope.predict.rows import Tally, columns_of, predict_rows
from hemoscope.predict.shards import Shard, images_of, plan_shards, some_of_shards
from hemoscope.predict.tables import schema_of

__all__ = ["kept_camera", "predict_on_ray"]

SHARD_ROWS = 4096
PLAN, CAMERA, DONE = "plan.json", "camera.json", "DONE.json"
MOST_BLOCKS = 10_000


def predict_on_ray(
    bundle: Path,
    inputs: Sequence[str],
    *,
    out: Path,
    tta: bool = False,
    batch_size: int | None = None,
    device: str = "auto",
    shard_rows: int = SHARD_ROWS,
    cpus: float = 1.0,
    gpus: float = 0.0,
    on_shard: Callable[[Tally, int, int], None] = lambda *_: None,
) -> Tally:
    """Write the rows of all images on the cluster that `cluster.connect` connected to; done again, it goes on.

    Args:
        bundle: The model. Every node sees it under this path, and the inputs, too.
        inputs: As of `plan_shards`.
        out: A folder that every node sees: `part-NUMBER-DIGEST.parquet` a shard, `DONE.json` when all are there. Of a
            model that frames nuclei `camera.json`, too: how large they are, measured before anything is asked.
        tta: Average over flips and quarter turns.
        batch_size: Images at once.
        device: Where to compute.
        shard_rows: Images of a shard of a manifest.
        cpus: Cores of a worker.
        gpus: GPUs of a worker, also a part of one.
        on_shard: Called with what is counted so far, the shards done, and how many there are.

    Raises:
        BundleError: If the bundle does not hold.
        ConfigError: If the bundle was not calibrated for `tta`, or no node has room for a worker.
        DataError: If inputs are no shards, or `out` holds something else.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    shards = plan_shards(inputs, shard_rows)
    asked = load(bundle, device="cpu")
    asked.trust(tta=tta)
    _check_plan(out, {"model": asked.digest, "tta": tta, "shards": _digest(shards)})
    nucleus_px = _camera(out, asked, shards)
    workers = _workers(cpus, gpus)
    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    done, tally = 0, Tally()
    options = {
        "bundle": str(bundle.absolute()),
        "out": str(out.absolute()),
        "tta": tta,
        "batch_size": batch_size,
        "device": device,
        "threads": max(1, int(cpus)),
        "nucleus_px": nucleus_px,
    }
    rows = [{"number": i, **asdict(shard)} for i, shard in enumerate(shards)]
    answers = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map_batches(
        _Asker,
        fn_constructor_kwargs=options,
        batch_size=1,
        compute=ActorPoolStrategy(min_size=1, max_size=max(1, min(workers, len(shards)))),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    with redirect_stdout(sys.stderr):  # Ray prints what became of workers
        for row in answers.iter_rows():
            done += 1
            tally = Tally(*(getattr(tally, name) + int(row[name]) for name in Tally.__slots__))
            on_shard(tally, done, len(shards))
    _write(out / DONE, json.dumps({"n": tally.n, **asdict(tally), "parts": done}, indent=2).encode() + b"\n")
    return tally


class _Asker:
    """A worker that keeps the model; given a shard, it answers how its images came out."""

    def __init__(
        self,
        *,
        bundle: str,
        out: str,
        tta: bool,
        batch_size: int | None,
        device: str,
        threads: int,
        nucleus_px: float | None,
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self._out, self._tta, self._batch_size = Path(out), tta, batch_size
        self._model = load(bundle, device=device).at_nucleus(nucleus_px)
        self._asked = f"{self._model.digest} {tta}" + ("" if nucleus_px is None else f" {nucleus_px}")

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """Return the counts of a shard, in lists of one."""
        number = int(batch["number"][0])
        shard = Shard(str(batch["file"][0]), int(batch["first"][0]), int(batch["rows"][0]))
        digest, images = images_of(shard)
        name = hashlib.sha256(f"{self._asked} {digest}".encode()).hexdigest()[:16]
        part = self._out / f"part-{number:06d}-{name}.parquet"
        if others := [file for file in self._out.glob(f"part-{number:06d}-*.parquet") if file != part]:
            raise DataError(
                f"{others[0]} was made of other images than {shard.file} has now; delete it to ask again"
            )
        if part.is_file():
            statuses = _statuses(part)
        else:
            rows = list(predict_rows(self._model, images, tta=self._tta, batch_size=self._batch_size))
            _write(part, _parquet(rows, columns_of(self._model)))
            statuses = [row["status"] for row in rows]
        counts = asdict(Tally().plus(statuses))
        return {name: [n] for name, n in counts.items()}


def _write(path: Path, content: bytes) -> None:
    """Write a file that appears whole, whoever else writes the same."""
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _parquet(rows: list[dict[str, Any]], columns: list[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema_of(columns)), file, write_page_checksum=True)
    return file.getvalue()


def _statuses(part: Path) -> list[str]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(io.BytesIO(part.read_bytes()), page_checksum_verification=True) as file:
        return file.read(columns=["status"])["status"].to_pylist()


def _workers(cpus: float, gpus: float) -> int:
    def room(node: dict[str, float]) -> int:
        of_cpus = int(node.get("CPU", 0) // cpus) if cpus else 10**6
        return min(of_cpus, int(node.get("GPU", 0) / gpus + 1e-9) if gpus else of_cpus)

    found = sum(map(room, nodes()))
    if not found:
        raise ConfigError(
            f"a worker asks for {cpus:g} CPU and {gpus:g} GPU, and no node has that many; ask for less with --cpus "
            "and --gpus"
        )
    return found


def _digest(shards: list[Shard]) -> str:
    return hashlib.sha256("\n".join(map(str, shards)).encode("utf-8", "surrogateescape")).hexdigest()


def _check_plan(out: Path, plan: dict[str, Any]) -> None:
    file = out / PLAN
    if not file.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out} holds something else; expected a folder that is absent or empty")
        out.mkdir(parents=True, exist_ok=True)
        _write(file, json.dumps(plan, indent=2).encode() + b"\n")
        return
    try:
        begun = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged: {error}; delete {out} to begin anew") from error
    if begun != plan:
        raise DataError(
            f"{out} was begun with another model, other options or other shards; choose another --out, or delete it"
        )


def _camera(out: Path, model: Model, shards: Sequence[Shard]) -> float | None:
    """Return the diameter of the nuclei that all shards are framed by, measured once; None where the model frames none."""
    if not model.frames_nuclei:
        return None
    if not (out / CAMERA).is_file():
        found = model.seen_px(some_of_shards(shards, LOOKED_AT))
        _write(out / CAMERA, json.dumps({"nucleus_px": found}, indent=2).encode() + b"\n")
    return kept_camera(out)


def kept_camera(out: Path) -> float | None:
    """Return the diameter of the nuclei that a job's images are framed by, in pixels; None where it frames none.

    Raises:
        DataError: If the file that keeps it is damaged.
    """
    file = out / CAMERA
    if not file.is_file():
        return None
    try:
        return float(json.loads(file.read_bytes())["nucleus_px"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged: {error}; delete {out} to begin anew") from error
