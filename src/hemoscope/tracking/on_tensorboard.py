"""Runs in TensorBoard: one event file a run, `OUT/tensorboard/NAME/events.out.tfevents.hemoscope`.

It is only ever added to, so TensorBoard follows it while a run trains. What is in it is read first, so that telling
twice changes nothing; what a killed process has left half written is cut off.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from hemoscope.errors import MissingPackageError, TrackingError
from hemoscope.files import lock_folder
from hemoscope.tracking.record import PREFIX, Brought, Point, Record

__all__ = ["OnTensorBoard"]

FILE = "events.out.tfevents.hemoscope"
ABOUT = "run"  # the text that says what was run
STATE = f"{PREFIX}state"  # what the text says stays as it was said first
SETTINGS, END = "_hparams_/session_start_info", "_hparams_/session_end_info"  # TensorBoard's own names


class OnTensorBoard:
    """The event files below a folder."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        """Write nothing yet.

        Args:
            folder: What `tensorboard --logdir` is given.

        Raises:
            MissingPackageError: If TensorBoard is not installed, with the command that installs it.
        """
        try:
            import tensorboard
        except ImportError as error:
            raise MissingPackageError.of("TensorBoard", error, extra="track") from None
        del tensorboard
        self._folder = folder
        self.where = str(folder)

    def bring(self, record: Record, *, weights: bool = False) -> Brought:  # noqa: ARG002  it keeps no files
        """Tell what is not there yet; see `Tracker`."""
        folder = self._folder / record.name
        try:
            with lock_folder(folder, wait=True), (folder / FILE).open("ab+") as file:
                there = {(v.tag, event.step) for event in _events(file) for v in event.summary.value}
                new = file.tell() == 0
                points = [point for point in record.points if (point.name, point.epoch) not in there]
                events = _about(record, new=new, there={tag for tag, _ in there})
                events += [_scalar(point, record.told_s) for point in points]
                if record.state == "done" and (END, 0) not in there:
                    events.append(_end(record))
                file.write(_as_records(events))
        except OSError as error:
            raise TrackingError(f"{folder / FILE} cannot be written: {error.strerror or error}") from error
        return Brought(new, len(points))


def _events(file: BinaryIO) -> Iterator[Any]:
    """Yield the events of a file and cut off what comes after the last whole one; the file is then at its end.

    A record is a length (8 bytes) and its checksum (4), so many bytes, and their checksum (4).
    """
    from google.protobuf.message import DecodeError

    file.seek(0)
    content, at = file.read(), 0
    while len(content) >= at + 12:
        (length,) = struct.unpack_from("<Q", content, at)
        if len(content) < at + 16 + length:
            break
        try:
            yield _proto("event").Event.FromString(content[at + 12 : at + 12 + length])
        except DecodeError:
            raise TrackingError(
                f"{file.name} is damaged after {at} bytes; expected the file that hemoscope writes. Delete it, and "
                "tell the run again: hemoscope track RUNS --to tensorboard"
            ) from None
        at += 16 + length
    file.truncate(at)
    file.seek(at)


def _as_records(events: list[Any]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = io.BytesIO()
    for event in events:
        RecordWriter(content).write(event.SerializeToString())
    return content.getvalue()


def _about(record: Record, *, new: bool, there: set[str]) -> list[Any]:
    """Return what an event file begins with, the settings, and the facts as a page."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    began_s = record.began_s
    told = [_event(wall_time=began_s, file_version="brain.Event:2")] if new else []
    if SETTINGS not in there:
        settings = hparams_pb(dict(record.settings), trial_id=record.name, start_time_secs=began_s)
        told.append(_event(wall_time=began_s, summary=settings))
    if ABOUT not in there:
        bars = str.maketrans({"|": "\\|", "\n": " "})
        rows = [f"| {key} | {v.translate(bars)} |" for key, v in record.facts.items() if key != STATE]
        page = "\n".join(["| | |", "|---|---|", *rows])
        told.append(_event(wall_time=began_s, summary=text_pb(ABOUT, page)))
    return told


def _scalar(point: Point, at_s: float) -> Any:
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    return _event(wall_time=at_s, step=point.epoch, summary=scalar_pb(point.name, point.value))


def _end(record: Record) -> Any:
    from tensorboard.plugins.hparams import metadata

    data, api = (import_module(f"tensorboard.plugins.hparams.{name}_pb2") for name in ("plugin_data", "api"))
    ended = data.SessionEndInfo(status=api.STATUS_SUCCESS, end_time_secs=record.told_s)
    about = metadata.create_summary_metadata(data.HParamsPluginData(session_end_info=ended))
    summary = _proto("summary").Summary()
    summary.value.add(tag=END, metadata=about, tensor=metadata.NULL_TENSOR)
    return _event(wall_time=record.told_s, summary=summary)


def _event(**fields: Any) -> Any:
    return _proto("event").Event(**fields)


def _proto(name: str) -> Any:
    """Return a module that the protocol's compiler wrote: nobody knows its names before it runs."""
    return import_module(f"tensorboard.compat.proto.{name}_pb2")
