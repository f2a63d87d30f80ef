"""BrainIAC's library: a brain MRI walks in, is standardised once, embedded once, and read by many heads.

Importing this package is cheap: torch is imported only by the rooms that make tensors.
Research use only; not a medical device.
"""

__version__ = "0.1.0"
RESEARCH_USE_ONLY = "Research use only. Not a medical device; not for diagnosis or treatment decisions."
