"""CLAIM 2024 and TRIPOD+AI, filled from runs: what a run cannot know is open, never invented."""

from hemoscope.report.checklists.page import checklists

__all__ = ["checklists"]
