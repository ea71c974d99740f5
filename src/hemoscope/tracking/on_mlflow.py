"""Runs in MLflow: at MLFLOW_TRACKING_URI, in the experiment of MLFLOW_EXPERIMENT_NAME or `hemoscope`.

A run of ours is one run there, known by its tags. What is there is read before anything is told, so that telling twice
changes nothing. FINISHED comes last: a run that is marked so is there with all its files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemoscope.errors import HemoscopeError, MissingPackageError, TrackingError
from hemoscope.tracking.record import PREFIX, Brought, Point, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["OnMlflow", "import_mlflow"]

EXPERIMENT = "hemoscope"
STATUS = {"running": "RUNNING", "done": "FINISHED", "failed": "FAILED"}
MOST_AT_ONCE = 500  # figures in one request; MLflow takes 1000
# What a person has set is left as it is. It is read by processes that are started from here, too.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nobody is told that it is used
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # there stand our results
    "MLFLOW_UV_AUTO_DETECT": "false",  # a uv.lock that lies around is none of a model's files
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # seven of them are minutes
}
HURRIED = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # a network waits


def import_mlflow(*, hurried: bool = False) -> Any:
    """Return the package, which tells nobody of its use and prints nothing.

    Args:
        hurried: Give a server that does not answer up after seconds, not minutes.

    Raises:
        MissingPackageError: If it is not installed, with the command that installs it.
    """
    for name, value in {**QUIET, **(HURRIED if hurried else {})}.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
        import sqlalchemy
    except ImportError as error:
        raise MissingPackageError.of("MLflow", error, extra="track") from None
    del sqlalchemy
    return mlflow


class OnMlflow:
    """The runs in MLflow."""

    name = "mlflow"

    def __init__(self, *, hurried: bool = False) -> None:
        """Ask nobody yet; see `import_mlflow`."""
        self._mlflow = import_mlflow(hurried=hurried)
        self._uri: str = self._mlflow.get_tracking_uri()
        self.where = _without_password(self._uri)

    def bring(self, record: Record, *, weights: bool = False) -> Brought:
        """Tell what is not there yet; see `Tracker`."""
        with _told(self.where):
            client = self._mlflow.MlflowClient(self._uri)
            files = {**record.files, **(record.weights if weights else {})}
            found, new = _found(client, record)
            run_id, there = found.info.run_id, found.info.status
            if there == "FINISHED" and not (weights and _lacking(client, run_id, files)):
                return Brought(new, 0)
            _tell_facts(client, found, record)
            points = _unknown_points(client, found, record)
            _tell_points(client, run_id, points, round(record.told_s * 1000))
            lacking = _lacking(client, run_id, files)
            for path in lacking.values():
                client.log_artifact(run_id, str(path))
            if record.state == "running":
                if there != "RUNNING":
                    client.update_run(run_id, status="RUNNING")
            else:
                client.set_terminated(run_id, STATUS[record.state], end_time=round(record.told_s * 1000))
            return Brought(new, len(points), tuple(lacking))


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except HemoscopeError:
        raise
    except Exception as error:  # its own, those of requests, of databases and of each store of files
        reason = _without_password(" ".join(str(error).split())) or type(error).__name__
        raise TrackingError(f"MLflow at {where} failed: {reason[:300]}") from error


def _without_password(text: str) -> str:
    """Return a text without who and password in its addresses.

    >>> _without_password("no answer from https://me@example.org/api")
    'no answer from https://example.org/api'
    """
    return re.sub(r"//[^/@\s]*@", "//", text)


def _found(client: MlflowClient, record: Record) -> tuple[Run, bool]:
    """Return the run in MLflow, made if it is not there, and whether it was made."""
    experiment = _experiment_id(client)
    if found := _search(client, experiment, record.identity):
        return found[0], False
    tags = dict(record.identity)
    made = client.create_run(
        experiment, start_time=round(record.began_s * 1000), tags=tags, run_name=record.name
    )
    first = next(iter(_search(client, experiment, record.identity)), made)
    if first.info.run_id != made.info.run_id:  # another process began to tell of the same run just now
        client.delete_run(made.info.run_id)
    return first, first.info.run_id == made.info.run_id


def _search(client: MlflowClient, experiment: str, identity: Mapping[str, str]) -> list[Run]:
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    return sorted(client.search_runs([experiment], wanted), key=lambda run: run.info.run_id)


def _experiment_id(client: MlflowClient) -> str:
    """Return where runs go, as MLflow's own variables say."""
    from mlflow.exceptions import MlflowException

    if named := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return named
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    if there := client.get_experiment_by_name(name):
        return there.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException:
        if there := client.get_experiment_by_name(name):  # another process made it just now
            return there.experiment_id
        raise


def _tell_facts(client: MlflowClient, found: Run, record: Record) -> None:
    from mlflow.entities import Param, RunTag

    there = found.data
    settings = [Param(k, str(v)) for k, v in record.settings.items() if k not in there.params]
    facts = [RunTag(k, v) for k, v in record.facts.items() if there.tags.get(k) != v]
    if settings or facts:
        client.log_batch(found.info.run_id, params=settings, tags=facts, synchronous=True)
    for key in there.tags:
        if key.startswith(PREFIX) and key not in record.facts:  # why it failed, before it went on
            client.delete_tag(found.info.run_id, key)


def _unknown_points(client: MlflowClient, found: Run, record: Record) -> list[Point]:
    """Return the figures whose epoch is not there: an epoch done again after a kill is told once."""
    names = {point.name for point in record.points} & set(found.data.metrics)
    there = {(name, m.step) for name in names for m in client.get_metric_history(found.info.run_id, name)}
    return [point for point in record.points if (point.name, point.epoch) not in there]


def _tell_points(client: MlflowClient, run_id: str, points: list[Point], at_ms: int) -> None:
    from mlflow.entities import Metric

    told = [Metric(point.name, point.value, at_ms, point.epoch) for point in points]
    for first in range(0, len(told), MOST_AT_ONCE):
        client.log_batch(run_id, metrics=told[first : first + MOST_AT_ONCE], synchronous=True)


def _lacking(client: MlflowClient, run_id: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files that are not there whole."""
    if not files:
        return {}
    there = {item.path: item.file_size for item in client.list_artifacts(run_id)}
    return {name: path for name, path in files.items() if there.get(name) != path.stat().st_size}
