"""Where more can be read."""

from __future__ import annotations

from slicer.i18n import tr as _

DOCUMENTATION = "https://github.com/ORG/SlicerBrainIAC/blob/main/BrainIAC/README.md"


def helpLink(anchor):
    """A line with a link for the help of a module."""
    return '<p><a href="{address}#{anchor}">{text}</a></p>'.format(
        address=DOCUMENTATION, anchor=anchor, text=_("Tutorial and every widget")
    )
