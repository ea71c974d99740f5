"""The report: tables, figures and one page, from run folders alone."""

from hemoscope.report.html import write_report

__all__ = ["write_report"]
