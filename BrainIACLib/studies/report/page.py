"""The page: summary first, then the series, the answers with where the models looked, the preparation, provenance."""

from __future__ import annotations

from typing import Any

from BrainIACLib.reports.overview_picture import PLANES
from BrainIACLib.studies.analysis import AnalyzedStudy
from BrainIACLib.studies.document import Answer, SeriesRow, StudyDocument
from BrainIACLib.studies.report.markup import bars, details, facts, items, picture, text, warnings
from BrainIACLib.studies.report.pictures import LEGEND, data_uri, planes_picture
from BrainIACLib.studies.report.style import STYLE
from BrainIACLib.trust import words

_RELATIONS = {
    "agree": "header and image agree",
    "disagree": "header and image disagree",
    "unsure": "the image model is not sure",
    "header only": "by its header alone",
    "image only": "by its image alone",
    "neither": "unknown",
}
_SIDES = "Right of the patient is on the left of axial and coronal planes."
SECTIONS = ("summary", "series", "answers", "preparation", "provenance")


def report_page(study: AnalyzedStudy) -> str:
    """The whole page as one string; it needs no other file and no network."""
    document = study.document
    title = f"BrainIAC report, {document.study}"
    links = items((f'<a href="#{name}">{name.capitalize()}</a>' for name in SECTIONS), "")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>"
        f'<a class="skip" href="#summary">Skip to the summary</a>'
        f"<header><h1>Brain MRI study</h1>{_headline(document)}"
        f'<p class="research" role="note"><strong>{text(document.notice)}</strong></p>'
        f'<nav aria-label="Sections">{links}</nav></header><main>'
        f"{_summary(document)}{_series(document)}{_answers(study)}{_preparation(study)}{_provenance(document)}"
        f"</main><footer>{text(document.notice)} Made by BrainIAC {text(document.versions.get('BrainIACLib', ''))}. "
        f"{_SIDES}</footer></body></html>\n"
    )


def _headline(document: StudyDocument) -> str:
    parts = [document.study]
    if document.person is not None:
        one = document.person
        parts = [one.name, f"ID {one.id}", f"born {one.birth_date}", f"study of {one.study_date}", *parts]
    if document.age_years is not None:
        parts.append(f"{document.age_years:.1f} years at the scan")
    parts += [
        {"F": "female", "M": "male", "O": "other"}.get(document.sex, ""),
        f"analyzed {document.created[:16].replace('T', ' ')} UTC",
    ]
    return f'<p class="meta">{text(", ".join(part for part in parts if part))}</p>'


def _section(name: str, title: str, inside: str) -> str:
    return f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{inside}</section>'


def _summary(document: StudyDocument) -> str:
    cards = [_card_of_answer(answer) for answer in document.answers if not _is_sequence(answer)]
    rows = {row.key: row for row in document.series}
    cards += [_card_of_slot(slot.slot, rows[slot.series], slot.why) for slot in document.slots]
    found = [one.text for one in document.findings if one.level == "warning"]
    notes = [text(one.text) for one in document.findings if one.level != "warning"]
    aside = sum(bool(row.set_aside) for row in document.series)
    total = len(document.series)
    counted = f'<p class="soft">{total} series, {total - aside} analyzed, {aside} set aside.</p>'
    doubts = f"<h3>Check these</h3>{warnings(found)}" if found else f'<p class="soft">{_no_doubts(document)}</p>'
    missing = [f"<strong>{text(task)}</strong>: {text(why)}" for task, why in document.not_answered.items()]
    without = f"<h3>Not answered</h3>{items(missing)}" if missing else ""
    noted = f"<h3>Notes</h3>{items(notes)}" if notes else ""
    nothing = "" if cards else "<p><strong>No series of this study could be used.</strong></p>"
    inside = f"{nothing}{items(cards, 'answers')}{counted}{without}{doubts}{noted}"
    return _section("summary", "Summary", inside)


def _no_doubts(document: StudyDocument) -> str:
    unsure = [row.key for row in document.series if row.used_as and row.relation == "unsure"]
    if not unsure:
        return "No contradiction between headers, images and positions was found."
    keys = ", ".join(map(text, unsure))
    return f"No contradiction was found, but the image model is not sure of series {keys}."


def _card_of_answer(answer: Answer) -> str:
    lines = []
    if short := words.uncertainty(answer.trust):
        lines.append(short)
    if answer.age_gap is not None:
        lines.append(words.age_gap(answer.age_gap))
    if answer.confidence is not None:
        lines.append(f"probability {words.probability(answer.confidence)}")
    doubts = f'<span class="tag doubt">{_count(len(answer.warnings), "doubt")}</span>' if answer.warnings else ""
    lines = [f'<div class="soft">{text(line)}</div>' for line in lines]
    name, label = text(answer.task), text(answer.label)
    return f'<div class="soft">{name}</div><div class="big">{label}</div>{"".join(lines)}{doubts}'


def _card_of_slot(slot: str, row: SeriesRow, why: str) -> str:
    voxel = " x ".join(f"{edge:.2g}" for edge in row.spacing_mm)
    return (
        f'<div class="soft">{text(slot)}</div><div class="big">series {text(row.key)}</div>'
        f'<div class="soft">{text(voxel)} mm; {text(why)}</div>{_relation(row)}'
    )


def _relation(row: SeriesRow) -> str:
    return _tag(row, _RELATIONS[row.relation])


def _tag(row: SeriesRow, said: str) -> str:
    kind = row.relation if row.relation in ("agree", "disagree") else "doubt" if row.relation == "unsure" else ""
    return f'<span class="tag {kind}">{text(said)}</span>'


def _series(document: StudyDocument) -> str:
    names = ("Series", "Taken for", "What was done", "Header", "Image", "Both", "Voxels", "Size, mm")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(_series_row(row) for row in document.series)
    others = [
        f"<strong>{text(slot.slot)}</strong>: series {text(slot.series)}, {text(slot.why)}."
        + "".join(f" Not series {text(key)}: {text(reason)}." for key, reason in slot.others.items())
        for slot in document.slots
    ]
    table = (
        '<p class="soft" id="series-note">Every series of the study. Another one is chosen in the panel by its '
        "sequence in the table of scans, on the command line with <code>--use T1=SERIES</code>.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Series table" aria-describedby="series-note">'
        "<table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    why = f"<h3>Why these</h3>{items(others)}" if others else ""
    return _section("series", "Series", f"{table}{why}")


def _series_row(row: SeriesRow) -> str:
    size = " x ".join(str(n) for n in row.size) + (f", {row.repeats} times" if row.repeats > 1 else "")
    image = f"{row.image_class} {words.probability(row.image_confidence)}" if row.image_confidence is not None else "-"
    done = row.set_aside and f"set aside: {row.set_aside}"
    done = done or (f"used as {', '.join(row.used_as)}" if row.used_as else "prepared, not used")
    kind = "used" if row.used_as else "aside" if row.set_aside else ""
    header = f'{text(row.header_class or "-")}<div class="soft">{text(row.header_reason)}</div>'
    said = "".join(f'<div class="soft">{text(sentence)}</div>' for sentence in row.warnings)
    described = f'<div class="soft">{text(row.description)}</div>' if row.description else ""
    voxel = " x ".join(f"{edge:.2g}" for edge in row.spacing_mm)
    return (
        f'<tr class="{kind}"><th scope="row">{text(row.key)}{described}</th><td>{text(row.name or "unknown")}</td>'
        f'<td class="done">{text(done)}{said}</td><td class="wide">{header}</td>'
        f"<td>{text(image)}</td><td>{_tag(row, row.relation)}</td>"
        f'<td class="number">{text(size)}</td><td class="number">{text(voxel)}</td></tr>'
    )


def _answers(study: AnalyzedStudy) -> str:
    ordered = sorted(study.document.answers, key=_is_sequence)
    cards = "".join(_answer(study, answer) for answer in ordered)
    return _section("answers", "Answers", cards or "<p>No model could answer about this study.</p>")


def _answer(study: AnalyzedStudy, answer: Answer) -> str:
    figures = "".join(_map(study, answer, slot, key) for slot, key in answer.series.items())
    taken = ", ".join(f"series {key}" + ("" if slot == "any" else f" as {slot}") for slot, key in answer.series.items())
    known = items(text(line) for line in (*words.stated(answer.trust), *words.examined(answer.trust)))
    said = (
        f"<div>{known}{bars(answer.probabilities)}{warnings(answer.warnings)}"
        f"{details('For which scans this answer was made', f'<p>{text(answer.valid_range)}</p>')}</div>"
    )
    shown = f'<div class="beside"><div>{figures}</div>{said}</div>' if figures else said
    return (
        f'<div class="card"><h3>{text(answer.task)}: {text(answer.headline)}</h3>'
        f'<p class="soft">{text(answer.model)}, from {text(taken)}</p>{shown}</div>'
    )


def _map(study: AnalyzedStudy, answer: Answer, slot: str, key: str) -> str:
    found = study.maps.get(answer.task, {}).get(slot)
    if found is None:
        return ""
    jpeg, places = planes_picture(study.prepared[key].native, heat=found.map)
    where = ", ".join(f"{name} {place}" for name, place in places.items())
    method = found.parameters.get("method", "SmoothGrad")
    caption = (
        f"Where the model looked in series {key}, on the scan's own grid ({method}; {LEGEND}). "
        "Where it looked is not why it is right."
    )
    return picture(data_uri(jpeg), f"Saliency for {answer.label} over series {key}: {where}", caption)


def _preparation(study: AnalyzedStudy) -> str:
    used = [slot.series for slot in study.document.slots]
    cards = "".join(_steps(study, key) for key in used)
    return _section("preparation", "Preparation", cards or "<p>No scan was prepared.</p>")


def _steps(study: AnalyzedStudy, key: str) -> str:
    done = study.prepared[key]
    stored, _ = planes_picture(done.native, mask=done.native_mask)
    moved, _ = planes_picture(done.image)
    names = ", ".join(name for name, *_ in PLANES)
    volume = next((step.quality.get("volume_ml") for step in done.record if step.name == "resampling"), None)
    brain = "" if volume is None else f", {volume:.0f} ml"
    figures = picture(
        data_uri(stored),
        f"Series {key} as stored, with the outline of the brain: {names}",
        f"As stored, with the brain that was found{brain}. Does the line follow the brain?",
    ) + picture(
        data_uri(moved),
        f"Series {key} in MNI space: {names}",
        "Bias corrected, in MNI space, 1 mm: what the models see. Is it upright and whole?",
    )
    steps = "".join(
        f'<tr><th scope="row">{text(step.name)}</th><td>{text(_short(step.parameters))}</td>'
        f'<td>{text(_short(step.quality))}</td><td class="number">{step.seconds:.1f} s</td></tr>'
        for step in done.record
    )
    table = (
        '<div class="scroll" tabindex="0" role="region" aria-label="Steps"><table><thead><tr><th scope="col">Step</th>'
        '<th scope="col">How</th><th scope="col">Found</th><th scope="col">Time</th></tr></thead>'
        f"<tbody>{steps}</tbody></table></div>"
    )
    said = warnings(done.warnings)
    return (
        f'<div class="card"><h3>Series {text(key)}</h3>{said}<div class="pair">{figures}</div>'
        f"{details('Steps', table)}</div>"
    )


def _short(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return " x ".join(_number(part) for part in value)
    return str(value)


def _provenance(document: StudyDocument) -> str:
    models = {}
    for answer in document.answers:
        model = answer.provenance.get("model", {})
        models[answer.model] = (
            f"version {model.get('version')}, {model.get('licence')}, sha256 {model.get('head_sha256')}"
        )
    slowest = max(document.seconds.items(), key=lambda pair: pair[1], default=("", 0.0))
    pairs = [
        *((f"model {name}", fact) for name, fact in models.items()),
        ("software", ", ".join(f"{name} {version}" for name, version in document.versions.items())),
        ("options", _short(dict(document.options))),
        ("wall time", f"{_short(dict(document.seconds))} (seconds); slowest: {slowest[0]}"),
    ]
    folded = '<p class="soft">The whole record is in study.json.</p>' if document.answers else ""
    return _section("provenance", "Provenance", f"{facts(pairs)}{folded}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _is_sequence(answer: Answer) -> bool:
    return answer.task.startswith("sequence of series")
