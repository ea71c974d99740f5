"""A slide's count in FHIR R4: a DiagnosticReport, its Observations and the Device that counted, in one Bundle.

The records are checked by fhir.resources, whose R4B has the same DiagnosticReport, Observation, Device and Bundle in
what is used here as R4. No patient is named, because none is known here: who receives it adds the subject.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from hemoscope.errors import MissingPackageError
from hemoscope.review.exports.loinc import Code
from hemoscope.review.exports.report import RESEARCH, Line, Report, flag, lines, signer, status

__all__ = ["as_fhir"]

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"
FLAGS = {"H": "High", "L": "Low", "N": "Normal"}


def as_fhir(report: Report) -> str:
    """Return a Bundle as JSON.

    Raises:
        MissingPackageError: If fhir.resources is not installed.
    """
    try:
        from fhir.resources.R4B.bundle import Bundle
    except ImportError as error:
        raise MissingPackageError.of("FHIR", error, extra="serve") from error
    device = _device(report)
    # By class: two of them may have one label.
    observations = {
        f"class {line.name}": _of_class(report, line) for line in lines(report) if line.value is not None
    }
    observations |= {f"slide {name}": each for name, each in _of_slide(report).items()}
    for each in observations.values():
        each["device"] = {"reference": _urn(report, "device")}
    results = [{"reference": _urn(report, name)} for name in observations]
    resources = {"report": _diagnostic_report(report, results), "device": device, **observations}
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": report.at,
        "entry": [{"fullUrl": _urn(report, name), "resource": each} for name, each in resources.items()],
    }
    return Bundle.model_validate(bundle).model_dump_json(indent=2) + "\n"


def _diagnostic_report(report: Report, results: list[dict[str, str]]) -> dict[str, Any]:
    findings = [f"{line.label}: {line.finding}." for line in lines(report) if line.finding]
    signature = report.signature
    signed = [f"Signed by {signer(report)}, log {signature.log}."] if signature else []
    if signature and signature.reason:
        signed.append(f"Signed with open cells: {signature.reason}")
    return {
        "resourceType": "DiagnosticReport",
        "identifier": [{"value": f"{report.slide}/{report.revision}"}],
        "status": status(report),
        "category": [{"coding": [{"system": SECTION, "code": "HM", "display": "Hematology"}]}],
        "code": _concept(report.codes.panel, "Differential count"),
        "effectiveDateTime": report.at,
        "issued": report.at,
        **({"performer": [{"display": signer(report)}]} if signature else {}),
        "result": results,
        "conclusion": " ".join(
            [
                RESEARCH,
                f"{report.title}, revision {report.revision}.",
                *findings,
                *(remark.text for remark in report.found.after.remarks),
                *signed,
            ]
        ),
    }


def _device(report: Report) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "deviceName": [{"name": report.model.name, "type": "model-name"}],
        "version": [
            {"type": {"text": "SHA-256 of the model's bundle"}, "value": report.model.digest},
            {"type": {"text": "hemoscope"}, "value": version("hemoscope")},
        ],
        "note": [{"text": RESEARCH}],
    }


def _of_class(report: Report, line: Line) -> dict[str, Any]:
    unit = ("%", "%") if line.role == "white" else ("/100 white cells", "/100{WBCs}")
    found = _observation(report, line.code, line.label)
    found["valueQuantity"] = _quantity(line.value, *unit)
    sign = flag(line)
    if sign:
        found["interpretation"] = [
            {
                "coding": [{"system": INTERPRETATION, "code": sign, "display": FLAGS[sign]}],
                **({"text": line.finding} if line.finding else {}),
            }
        ]
    if line.expected:
        low, high = line.expected
        found["referenceRange"] = [
            {
                "low": _quantity(low, *unit),
                "high": _quantity(high, *unit),
                "text": f"{report.reference.name}, {low:g} to {high:g}",
            }
        ]
    found["component"] = [
        _component("Cells counted of this class", valueQuantity=_quantity(line.counted, "cells", "{cells}")),
        _component(
            "Cells counted of this class by the model alone",
            valueQuantity=_quantity(line.before, "cells", "{cells}"),
        ),
    ]
    if line.sampling:
        found["component"].append(
            _component("95 % interval, counting so few cells (Rümke)", valueRange=_range(line.sampling, unit))
        )
    if line.interval:
        found["component"] += [
            _component(
                "Median, model's errors among unreviewed cells taken out",
                valueQuantity=_quantity(line.corrected, *unit),
            ),
            _component(
                "95 % interval, counting and the model's errors together",
                valueRange=_range(line.interval, unit),
            ),
        ]
    return found


def _of_slide(report: Report) -> dict[str, dict[str, Any]]:
    found, codes = report.found, report.codes
    counted = _observation(report, codes.cells_counted, "White cells counted")
    counted["valueQuantity"] = _quantity(found.after.n_white, "cells", "{cells}")
    counted["component"] = [
        _component("Cells reviewed by a person", valueQuantity=_quantity(found.reviewed, "cells", "{cells}")),
        _component("Cells not classed", valueQuantity=_quantity(found.not_classed, "cells", "{cells}")),
        _component(
            "Cells still open",
            valueQuantity=_quantity(found.waiting + found.unidentified, "cells", "{cells}"),
        ),
    ]
    told = {"cells": counted}
    if found.corrected_white:
        given = _observation(report, codes.white_count, "White count as stated")
        given["valueQuantity"] = _quantity(found.corrected_white.given, "10*9/L", "10*9/L")
        corrected = _observation(
            report, codes.corrected_white_count, "White count, corrected for erythroblasts"
        )
        corrected["valueQuantity"] = _quantity(found.corrected_white.value, "10*9/L", "10*9/L")
        corrected["note"] = [{"text": found.corrected_white.working}]
        told |= {"white": given, "corrected": corrected}
    return told


def _observation(report: Report, code: Code | None, text: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": status(report),
        "category": [{"coding": [{"system": CATEGORY, "code": "laboratory", "display": "Laboratory"}]}],
        "code": _concept(code, text),
        "effectiveDateTime": report.at,
    }


def _concept(code: Code | None, text: str) -> dict[str, Any]:
    coding = {"coding": [{"system": LOINC, "code": code.code, "display": code.name}]} if code else {}
    return {**coding, "text": text}


def _quantity(value: float | None, unit: str, code: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": code}


def _range(ends: tuple[float, float], unit: tuple[str, str]) -> dict[str, Any]:
    low, high = ends
    known = {"low": _quantity(low, *unit)}
    return {**known, "high": _quantity(high, *unit)} if math.isfinite(high) else known


def _component(text: str, **value: Any) -> dict[str, Any]:
    return {"code": {"text": text}, **value}


def _urn(report: Report, name: str) -> str:
    """The same part of the same revision has the same name again."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'hemoscope/{report.slide}/{report.revision}/{name}')}"
