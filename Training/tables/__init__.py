"""Every table of the report, from one evaluation, as CSV, Markdown and LaTeX (PROTOCOL P-22)."""
