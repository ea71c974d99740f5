"""What of a run folder is told to a tracker: settings, facts, curves, test figures, files.

All of it is read from the folder, so a run that trains, one that was killed and one of last year are told alike. Nothing
here knows a tracker, and nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from hemoscope.errors import RunError
from hemoscope.evaluation.summary import score
from hemoscope.runs import CARD, EVALUATED, HISTORY, MODEL, PREDICTIONS, Run

__all__ = ["Brought", "Point", "Record", "Setting", "State", "Tracker", "has_begun", "record_of"]

State = Literal["running", "done", "failed"]
Setting = str | int | float | bool
PREFIX = "hemoscope."
LONGEST = 5000  # characters of a fact; MLflow took no longer ones for years
RATES = ("precision", "sensitivity", "specificity")


@dataclass(frozen=True, slots=True)
class Point:
    """A figure after an epoch."""

    name: str
    epoch: int
    value: float


@dataclass(frozen=True)
class Record:
    """What is told of a run.

    Attributes:
        name: Of the run folder.
        identity: The facts that no other run has: the digest of the job, and when it began. A folder that was
            deleted and begun anew is another run; one that was killed and goes on is the same.
        state: Whether it is done; `running` if nothing says otherwise.
        settings: Architecture, seed and every field of the recipe that has a value.
        facts: Where it comes from and what computed it, `identity` among them.
        points: The columns of history.csv; of a finished run also the figures of its test side, after the last epoch.
        began_s: When it began, in seconds since 1970.
        told_s: When it ended; until then, when its last epoch did.
        files: What lies in the folder for everybody, of a finished run; by name.
        weights: Its weights.
    """

    name: str
    identity: Mapping[str, str]
    state: State
    settings: Mapping[str, Setting]
    facts: Mapping[str, str]
    points: tuple[Point, ...]
    began_s: float
    told_s: float
    files: Mapping[str, Path]
    weights: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Brought:
    """What was told of a run.

    Attributes:
        new: Whether the tracker had not known the run.
        points: Figures that it had not known.
        files: Names of files that it had not had.
    """

    new: bool
    points: int
    files: tuple[str, ...] = ()


class Tracker(Protocol):
    """Who keeps a record of runs."""

    @property
    def name(self) -> str:
        """What `--track` and `--to` call it."""
        ...

    @property
    def where(self) -> str:
        """Where it keeps them."""
        ...

    def bring(self, record: Record, *, weights: bool = False) -> Brought:
        """Tell what it does not know yet, and nothing twice.

        Args:
            record: Of a run.
            weights: Tell the weights, too.

        Raises:
            TrackingError: If that does not work.
        """
        ...


def has_begun(run: Run) -> bool:
    """Tell whether there is anything to tell: a run that failed before its first step has no beginning."""
    return bool(run.card.get("started_at"))


def record_of(run: Run) -> Record:
    """Return what is told of a run that has begun.

    Raises:
        RunError: If the folder is damaged.
    """
    card, history = run.card, run.history
    began_s, ended_s = _seconds(run, "started_at"), _seconds(run, "finished_at")
    done = run.done and card.get("status") != "running"  # else it was while the card was read
    points = [
        Point(name, row.epoch, v) for row in history for name, v in asdict(row).items() if name != "epoch"
    ]
    if done:
        points += [Point(name, len(history), value) for name, value in _figures(run)]
    digest = re.sub(
        r"[^\w.-]", "_", str(card.get("digest") or run.name)
    )  # a tracker is asked for it in quotes
    identity = {"digest": digest, "started_at": card["started_at"]}
    split = card.get("split") or {}
    if split.get("policy") == EVALUATED:  # the run's answers to other images are no run of its training
        identity["digest"] = f"{digest}-{str(split.get('digest'))[:16]}"
    files = {
        name: run.path / name for name in (CARD, HISTORY, PREDICTIONS)
    }  # what evaluate wrote has no history
    state: State = "done" if done else "failed" if card.get("status") == "failed" else "running"
    return Record(
        name=run.name,
        identity={PREFIX + key: value for key, value in identity.items()},
        state=state,
        settings=_settings(card),
        facts={PREFIX + key: value[:LONGEST] for key, value in _facts(run, identity, state).items()},
        points=tuple(points),
        began_s=began_s or 0.0,
        told_s=ended_s or _written_s(run.path / HISTORY) or began_s or 0.0,
        files={name: path for name, path in files.items() if path.is_file()} if done else {},
        weights={MODEL: run.path / MODEL} if done else {},
    )


def _settings(card: Mapping[str, Any]) -> dict[str, Setting]:
    named = {"arch": card.get("arch"), "seed": card.get("seed"), **card.get("recipe", {})}
    return {key: value for key, value in named.items() if value is not None}


def _facts(run: Run, identity: Mapping[str, str], state: State) -> dict[str, str]:
    card = run.card
    told: dict[str, Any] = {"run": run.name, **identity, "state": state}
    told |= {key: card.get(key) for key in ("arch", "seed", "reason", "command", "parameters")}
    told["data.digest"] = (card.get("data") or {}).get("digest")
    for part in ("split", "weights", "machine", "versions"):
        told |= {f"{part}.{key}": value for key, value in (card.get(part) or {}).items()}
    return {key: str(value) for key, value in told.items() if value not in (None, "")}


def _figures(run: Run) -> Iterator[tuple[str, float]]:
    """Yield the test figures that are defined."""
    scores = score(run.predictions("test"))
    low, high = scores.accuracy_ci
    named = {"n": scores.n, "errors": scores.errors, "accuracy": scores.accuracy}
    named |= {"accuracy_low": low, "accuracy_high": high}
    named |= {f"macro/{rate}": getattr(scores.macro, rate) for rate in RATES}
    for i, name in enumerate(scores.classes):
        named |= {f"{_plain(name)}/{rate}": float(getattr(scores, rate).value[i]) for rate in RATES}
    for key, value in named.items():
        if value == value:  # not NaN
            yield f"test/{key}", value


def _plain(class_name: str) -> str:
    """Return a class name with its code where a character may not stand in the name of a figure.

    >>> _plain("lymphocyte"), _plain("ig (immature)")
    ('lymphocyte', 'ig _28immature_29')
    """
    return re.sub(r"[^\w .-]", lambda match: f"_{ord(match[0]):x}", class_name)


def _seconds(run: Run, key: str) -> float | None:
    text = run.card.get(key)
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError as error:
        raise RunError(
            f"{run.path / CARD} is damaged: {key}: {error}; delete the folder and run again"
        ) from None


def _written_s(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
