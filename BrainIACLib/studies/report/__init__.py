"""The report of a study: one self-contained HTML page, the document as JSON, the series as a table."""

from BrainIACLib.studies.report.files import FILES, refuse_another, write_report
from BrainIACLib.studies.report.page import report_page

__all__ = ["FILES", "refuse_another", "report_page", "write_report"]
