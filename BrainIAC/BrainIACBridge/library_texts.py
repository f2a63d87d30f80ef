"""Texts of the library that the panels show as their own, in the language of the application.

The library speaks English and knows no translation; its texts are looked up here. Those that stand in ``known`` are
found by the translation tools, which read sources; a text that does not is shown in English.
"""

from __future__ import annotations

from slicer.i18n import translate


def translated(text):
    """A text of the library, a template with its fields or a whole sentence."""
    return translate("BrainIACLib", text)


def known():
    """The texts that can be translated."""
    return (
        translate("BrainIACLib", "Bias field"),
        translate("BrainIACLib", "Correct the bias field with N4"),
        translate("BrainIACLib", "Brain extraction"),
        translate("BrainIACLib", "Automatic"),
        translate("BrainIACLib", "Already done: the scan shows the brain only"),
        translate("BrainIACLib", "HD-BET (any sequence; slow without a graphics card)"),
        translate("BrainIACLib", "Bundled network (any sequence; fast)"),
        translate("BrainIACLib", "None: use the whole head"),
        translate("BrainIACLib", "Age at the scan {age:.1f} years, brain age gap {gap:+.1f} years"),
        translate("BrainIACLib", "{text} ({coverage:.0%} interval {low:+.1f} to {high:+.1f})"),
    )
