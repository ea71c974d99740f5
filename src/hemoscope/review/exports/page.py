"""The page of a reviewed slide, to be printed: that of `hemoscope differential`, with the readers' counts."""

from __future__ import annotations

from hemoscope.differential.page import Review, differential_page
from hemoscope.review.exports.report import Report, signer

__all__ = ["as_page"]


def as_page(report: Report) -> str:
    """Return the page as HTML."""
    found, signature = report.found, report.signature
    facts = [
        (found.reviewed, "reviewed by a person"),
        (found.not_classed, "not classed, not counted"),
        (found.waiting, "still for review"),
        (found.unidentified, "unidentified, not counted"),
    ]
    signed = "Not signed yet."
    if signature:
        signed = f"Signed by {signer(report)}, {signature.at}, revision {signature.revision}, log {signature.log[:16]}."
        if signature.reason:
            signed += f" Signed with open cells: {signature.reason}"
    return differential_page(
        found.after,
        report.reference,
        report.model,
        title=report.title,
        date=report.at[:10],
        review=Review(
            percents=found.percents,
            before={share.name: share.counted for share in found.before.shares},
            facts=facts,
            notes=_notes(report),
            signed=signed,
        ),
    )


def _notes(report: Report) -> list[str]:
    notes = []
    if report.found.corrected_white:
        notes.append(f"Corrected white count: {report.found.corrected_white.working}.")
    if report.nucleus_px is not None:
        notes.append(
            f"The model framed every cell by the slide's typical nucleus, measured as {report.nucleus_px:.0f} px."
        )
    agreement = report.agreement
    if agreement and agreement.kappa:
        kappa = agreement.kappa
        notes.append(
            f"Two readers agreed on {agreement.agreed} of {agreement.both} cells, Cohen's kappa {kappa.value:.2f} "
            f"(95 % interval {kappa.low:.2f} to {kappa.high:.2f})."
        )
    for reader, did in report.bias.items():
        if did.wrong:
            low, high = did.interval
            notes.append(
                f"{reader} followed {did.followed} of {did.wrong} wrong answers of the model ({100 * low:.0f} to "
                f"{100 * high:.0f} %), on {did.audited} cells read again blindly."
            )
    return notes
