"""What TensorBoard shows of a run, read back with its own reader."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemoscope.errors import MissingPackageError, TrackingError
from hemoscope.tracking.on_tensorboard import FILE, OnTensorBoard
from hemoscope.tracking.record import Record, record_of
from tests.tracking.conftest import EPOCHS, Training, make

pytest.importorskip("tensorboard", reason="the extra `track` is not installed")


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return every curve as TensorBoard's own reader finds it, doubled points twice."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    reader.Reload()
    curves = {}
    for tag in reader.Tags()["tensors"]:
        events = reader.Tensors(tag)
        if reader.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            curves[tag] = [(e.step, float(make_ndarray(e.tensor_proto))) for e in events]
        else:
            assert len(events) == 1, tag
    return curves


def expected(record: Record) -> dict[str, list[tuple[int, float]]]:
    names = {p.name for p in record.points}
    return {
        name: [(p.epoch, pytest.approx(p.value, rel=1e-6)) for p in record.points if p.name == name]
        for name in names
    }


def test_curves_test_figures_settings_and_facts_are_shown(training: Training, tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import (
        parse_session_end_info_plugin_data,
        parse_session_start_info_plugin_data,
    )

    board = OnTensorBoard(tmp_path / "board")
    record = record_of(training.at(EPOCHS, done=True))
    brought = board.bring(record)
    assert (brought.new, brought.points) == (True, len(record.points))
    folder = tmp_path / "board" / record.name
    assert shown(folder) == expected(record)
    reader = EventAccumulator(str(folder))
    reader.Reload()
    (page,) = reader.Tensors("run")
    assert f"| hemoscope.run | {record.name} |" in page.tensor_proto.string_val[0].decode()
    content = reader.PluginTagToContent("hparams")
    begun = parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
    assert begun.hparams["lr"].number_value == 0.001
    assert begun.hparams["hflip"].bool_value is True
    assert begun.hparams["arch"].string_value == "resnet18"
    assert begun.start_time_secs == record.began_s
    ended = parse_session_end_info_plugin_data(content["_hparams_/session_end_info"])
    assert ended.end_time_secs == record.told_s


def test_telling_twice_changes_no_byte(training: Training, tmp_path: Path):
    record = record_of(training.at(EPOCHS, done=True))
    OnTensorBoard(tmp_path).bring(record)
    before = (tmp_path / record.name / FILE).read_bytes()
    again = OnTensorBoard(tmp_path).bring(record)
    assert (again.new, again.points) == (False, 0)
    assert (tmp_path / record.name / FILE).read_bytes() == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return record_of(make(tmp_path_factory.mktemp("whole")).at(EPOCHS, done=True))


@given(lengths=st.lists(st.integers(0, EPOCHS), max_size=6))
def test_however_often_it_was_stopped_and_went_back_every_epoch_is_there_once(
    lengths: list[int], whole: Record, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("board")
    begun = [p for p in whole.points if not p.name.startswith("test/")]
    for n, length in enumerate(lengths):  # what was trained again after a kill has another rate
        points = tuple(
            replace(p, value=float(n)) if p.name == "images_per_s" else p for p in begun if p.epoch <= length
        )
        OnTensorBoard(folder).bring(replace(whole, state="running", points=points))
    OnTensorBoard(folder).bring(whole)
    curves = shown(folder / whole.name)
    wanted = expected(whole)
    assert [step for step, _ in curves.pop("images_per_s")] == list(range(1, EPOCHS + 1))
    del wanted["images_per_s"]
    assert curves == wanted
    shutil.rmtree(folder)


def test_what_a_kill_left_half_written_is_written_again(training: Training, tmp_path: Path):
    whole = OnTensorBoard(tmp_path / "whole")
    record = record_of(training.at(EPOCHS, done=True))
    whole.bring(record)
    content = (tmp_path / "whole" / record.name / FILE).read_bytes()
    for cut in (0, 1, 11, 13, len(content) // 2, len(content) - 1):
        folder = tmp_path / f"cut-{cut}" / record.name
        folder.mkdir(parents=True)
        (folder / FILE).write_bytes(content[:cut])
        OnTensorBoard(folder.parent).bring(record)
        assert shown(folder) == expected(record), cut


def test_a_file_that_is_another_s_is_refused(training: Training, tmp_path: Path):
    record = record_of(training.at(1))
    folder = tmp_path / record.name
    folder.mkdir()
    (folder / FILE).write_bytes(b"\x04" + bytes(11) + b"\xff\xff\xff\xff" + bytes(4))
    with pytest.raises(TrackingError, match="is damaged after 0 bytes"):
        OnTensorBoard(tmp_path).bring(record)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hemoscope\[track\]'"):
        OnTensorBoard(tmp_path)
