"""The differential count of one smear: counting, reference ranges, findings, the page."""
