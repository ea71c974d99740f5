"""The model card of what a report's headline is about, in the words of a bundle's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hemoscope.encoding import jsonable
from hemoscope.ensemble.candidates import Entry
from hemoscope.model_card import (
    INTENDED_USE,
    LIMITS,
    front_matter,
    member_row,
    members_section,
    one_cell,
    opening,
    scores_section,
)
from hemoscope.report.checklists.of_scores import OF_SCORES
from hemoscope.report.collect import Report
from hemoscope.report.formats import printable

__all__ = ["model_card"]

NO_UNKNOWN = "It calls nothing unknown: whatever it is shown gets one of its classes."


def model_card(report: Report) -> str:
    """Return the card as Markdown; the same runs give the same text."""
    entries = report.judged_entries
    ensemble = report.ensemble if report.ensemble_leads else None
    name = "+".join(sorted({printable(entry.arch) for entry in entries}))
    title = f"{name}: {len(entries)} networks, {ensemble.how} vote" if ensemble else name
    scores = _shown(report.headline.to_json())
    split = _shown(entries[0].card["split"])
    thresholds = "The bundle" if report.data.bundle else "A bundle of it"
    no_unknown = f"{NO_UNKNOWN} {thresholds} has thresholds (hemoscope bundle)."
    limits = (*LIMITS, no_unknown, *(f"{caveat.title} {caveat.text}" for caveat in report.judged_caveats))
    calibration = OF_SCORES["calibration"].say(report)
    lines = [
        front_matter(
            name=name, archs=[entry.arch for entry in entries], scores=scores, policy=split.get("policy")
        ),
        *opening(
            one_cell(title), list(map(printable, report.data.classes)), INTENDED_USE, map(_sentence, limits)
        ),
        *scores_section(scores, data=printable(report.data.digest), split=split),
        *([calibration, ""] if calibration else []),
        *members_section(_sentence(ensemble.chosen) if ensemble else "", map(_member, entries)),
    ]
    return "\n".join(lines)


def _member(entry: Entry) -> str:
    return member_row(
        printable(entry.arch),
        recipe=_shown(entry.recipe),
        seed=entry.seed,
        parameters=entry.card.get("parameters"),
        pretrained=_shown(entry.card.get("weights") or {}),
        digest=printable(str(entry.card.get("digest"))),
    )


def _sentence(text: str) -> str:
    return one_cell(printable(text))


def _shown(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a document as JSON has it, names and texts on one line each."""
    return {
        printable(key): _shown(item) if isinstance(item, Mapping) else _plain(item)
        for key, item in value.items()
    }


def _plain(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else jsonable(value)
