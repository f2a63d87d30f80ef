"""A model's contract as a page that a person can read."""

from __future__ import annotations

from slicer.i18n import tr as _


def modelCard(contract):
    """Plain text: purpose, validity, data, license, origin and hashes of an installed model."""
    head = contract.head
    fields = {
        _("Task"): head.task,
        _("Answers"): ", ".join(head.labels) if head.labels else head.unit,
        _("Takes"): ", ".join(head.slots),
        _("Intended use"): contract.intended_use,
        _("Valid for"): head.valid_range,
        _("Training data"): contract.training_data,
        _("License of the weights"): contract.licence,
        _("Citation"): contract.citation,
        _("Version"): f"{contract.id} {contract.version}",
        _("Encoder SHA-256"): contract.encoder.sha256,
        _("Head SHA-256"): head.sha256,
    }
    return "\n\n".join(f"{title}: {text}" for title, text in fields.items())
