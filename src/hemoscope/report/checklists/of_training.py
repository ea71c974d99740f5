"""Answers on networks, their training, and the software."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hemoscope.data.images.framing import NUCLEUS_SHARE
from hemoscope.report.checklists.answer import Answer, by_run
from hemoscope.report.collect import Report
from hemoscope.report.formats import counted
from hemoscope.training.changes import setting

__all__ = ["OF_TRAINING"]

_HEADS = {
    "replace_last": "its last layer replaced",
    "single_layer": "its classifier replaced by a single layer",
}
_EPOCHS = {
    "last": "The weights are those of the last epoch.",
    "best_val": "The weights are those of the epoch with the most right validation images.",
}


def _technique(report: Report) -> str:
    archs = ", ".join(dict.fromkeys(entry.arch for entry in report.judged_entries))
    return (
        f"Deep convolutional networks ({archs}) that give an image one of {len(report.data.classes)} classes."
    )


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {setting(value)}" for name, value in values.items())


def _model(card: Mapping[str, Any]) -> str:
    px, head = card["image_px"], card["recipe"]["head"]
    return (
        f"{card['arch']} as torchvision builds it, {_HEADS.get(head, f'head {head}')}: {card['parameters']:,} parameters; input an RGB image of "
        f"{px} x {px} px, output one probability a class."
    )


def _preprocessing(card: Mapping[str, Any]) -> str:
    px, whole = card["image_px"], card["recipe"]["eval_view"] == "full_image"
    square = "its central square is resized"
    if nucleus_px := card["data"].get("nucleus_px"):
        square = (
            "its colours are divided by those of its background, and by one factor for all it is zoomed so that the median nucleus of the "
            f"training images, {nucleus_px:.0f} px, takes {NUCLEUS_SHARE:g} of the network's input, on white where it ends"
        )
    return (
        f"Every image alike: {square}, the network is given {'all' if whole else 'the centre'} of it "
        f"at {px} x {px} px, normalised by mean and standard deviation of ImageNet."
    )


def _predictors(card: Mapping[str, Any]) -> str:
    px = card["image_px"]
    return f"The pixels of one image, {px} x {px}; none was selected before."


def _weights(card: Mapping[str, Any]) -> str:
    weights, seed = card["weights"], card["seed"]
    if weights["source"] == "none":
        return f"Random weights, drawn by seed {seed}."
    told = [str(weights[key]) for key in ("origin", "note") if weights.get(key)]
    if digest := weights.get("sha256"):
        told.append(f"SHA-256 {digest}")
    about = f" ({'; '.join(told)})" if told else ""
    source = {"imagenet": "ImageNet weights"}.get(str(weights["source"]), f"weights {weights['source']}")
    return f"{source}{about}; new layers drawn by seed {seed}."


def _imbalance(card: Mapping[str, Any]) -> str:
    weights, sampler = card["recipe"]["class_weights"], card["recipe"]["sampler"]
    power = card["recipe"].get("in_blood", 0)
    leant = (
        f" Answers lean to the classes that are common in healthy blood, to their shares to the power {power:g}."
        if power
        else ""
    )
    if (weights, sampler) == ("none", "shuffle"):
        return (
            "Nothing was done about unequal classes: the loss is not weighted, and images are drawn whatever their class."
            + leant
        )
    return f"Class weights of the loss: {weights}; drawing of images: {sampler}. Nothing was recalibrated after.{leant}"


def _epoch(card: Mapping[str, Any]) -> str:
    rule = card["recipe"]["select_epoch"]
    return _EPOCHS.get(rule, f"Epoch of the weights: {rule}.")


def _selection(report: Report) -> str | None:
    best, n = report.best, len(report.best.val)
    if not n:
        return None
    if len(report.entries) == 1:
        return "There is one run; nothing was chosen among several."
    given = report.ensemble is not None and report.ensemble.choice is None
    errors = f"{best.label} has {counted(best.val.n_errors, 'error')} on {counted(n, 'validation image')}"
    if report.ensemble:
        errors += f", the ensemble {report.ensemble.val_errors:,}"
    return (
        f"Of {len(report.entries)} runs, {report.judged_label} by validation: fewest errors, then the lower log-loss "
        f"({errors}).{'' if given else ' No test image played a part.'}"
    )


def _ensemble(report: Report) -> str | None:
    if report.ensemble is None:
        return None
    members = ", ".join(member.label for member in report.ensemble.members)
    how = {"majority": "the class that most predict", "soft": "the largest mean probability"}
    lead = "" if report.ensemble_leads else " Validation prefers the single network."
    return f"{members} vote: {how[report.ensemble.how]}. {report.ensemble.chosen}{lead}"


def _commands(report: Report) -> str:
    return "; ".join(dict.fromkeys(str(entry.card["command"]) for entry in report.judged_entries))


def _each(*fields: str, say: Any) -> Answer:
    return Answer(lambda report: by_run(report, say), fields)


OF_TRAINING: dict[str, Answer] = {
    "technique": Answer(_technique),
    "model": _each("parameters", "image_px", "recipe.head", say=_model),
    "preprocessing": _each("image_px", "recipe.eval_view", say=_preprocessing),
    "predictors": _each("image_px", say=_predictors),
    "software": _each("versions", say=lambda card: f"{_settings(card['versions'])}."),
    "machine": _each("machine", say=lambda card: f"{_settings(card['machine'])}."),
    "weights": _each("weights.source", say=_weights),
    "recipe": _each(
        "recipe.epochs",
        "recipe.lr",
        "recipe.batch_size",
        say=lambda card: f"Recipe: {_settings(card['recipe'])}.",
    ),
    "imbalance": _each("recipe.class_weights", "recipe.sampler", say=_imbalance),
    "epoch": _each("recipe.select_epoch", say=_epoch),
    "selection": Answer(_selection),
    "ensemble": Answer(_ensemble),
    "no_ensemble": Answer(lambda report: report.no_ensemble or None),
    "commands": Answer(_commands, ("command",)),
    "version": _each("versions.hemoscope", say=lambda card: f"hemoscope {card['versions']['hemoscope']}."),
    "files": _each(
        "files",
        say=lambda card: (
            f"{', '.join(f'{name} SHA-256 {digest}' for name, digest in card['files'].items())}."
        ),
    ),
}
