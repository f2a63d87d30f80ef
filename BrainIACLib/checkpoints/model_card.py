"""The ``card.md`` of an imported model: its contract for people."""

from __future__ import annotations

from BrainIACLib.contracts import MODEL_FOLDER, ModelContract


def model_card(contract: ModelContract) -> str:
    """Markdown text."""
    encoder, head, source = contract.encoder, contract.head, contract.source
    facts = {
        "Task": head.task if head else "embedding",
        "Encoder": f"{encoder.architecture}, generation {encoder.generation}, embedding {encoder.embedding} "
        f"({encoder.embedding_size} numbers)",
        "Input": f"{' x '.join(map(str, encoder.input_size))}, {encoder.resize_mode} resize, {encoder.normalisation}, "
        f"array order {encoder.orientation}, skull-stripped: {encoder.skull_stripped}",
        "License": contract.licence,
        "Citation": contract.citation,
        "Training data": contract.training_data,
        "Intended use": contract.intended_use,
    }
    if head is not None:
        facts |= {"Scans": ", ".join(head.slots), "Valid for": head.valid_range}
        if head.labels:
            facts["Classes"] = ", ".join(f"{index}: {label}" for index, label in enumerate(head.labels))
        if head.display_unit:
            facts["Unit"] = f"{head.display_unit} (the network gives {head.unit})"
    if contract.mask is not None:
        facts["Mask"] = f"{contract.mask.label}, of a {contract.mask.slots[0]} scan. {contract.mask.valid_range}"
    if source is not None and source.layout == MODEL_FOLDER:
        facts |= {"Imported from": f"the folder {source.name}", "Terms accepted": source.terms_accepted}
    elif source is not None:
        facts |= {
            "Converted from": f"{source.name}, sha256 {source.sha256}, recognized as {source.layout}",
            "Left out": f"{len(source.dropped_keys)} tensors of no use here",
            "Terms accepted": source.terms_accepted,
        }
    lines = [f"# {contract.title}", "", *(f"- **{name}**: {value}" for name, value in facts.items())]
    if contract.unverified:
        lines += ["", "## Unverified", "", *(f"- {statement}" for statement in contract.unverified)]
    return "\n".join(lines) + "\n"
