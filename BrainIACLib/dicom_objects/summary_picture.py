"""One picture that any viewer shows: the answers in words, the chosen series, where the models looked."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset

import BrainIACLib
from BrainIACLib.dicom_objects.equipment import MANUFACTURER, uid_of
from BrainIACLib.studies.analysis import AnalyzedStudy
from BrainIACLib.studies.report.pictures import planes_picture
from BrainIACLib.trust import words

NUMBER = 9701
WIDTH, MARGIN, LINE = 1024, 24, 26
_BLACK, _WHITE, _SOFT, _AMBER = (0, 0, 0), (240, 244, 248), (159, 179, 200), (255, 196, 107)
MOST_MAPS, MOST_DOUBTS = 4, 6


def summary_picture(study: AnalyzedStudy, source: Dataset) -> SCImage:
    """The summary as a Secondary Capture of the study that ``source`` belongs to."""
    pixels = summary_pixels(study)
    made = [f"{answer.task} {answer.model} {answer.headline}" for answer in study.document.answers]
    picture = SCImage.from_ref_dataset(
        ref_dataset=source,
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=uid_of("summary series", str(source.StudyInstanceUID)),
        series_number=NUMBER,
        sop_instance_uid=uid_of("summary", str(source.StudyInstanceUID), BrainIACLib.__version__, *made),
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "P"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    picture.BodyPartExamined = "BRAIN"
    picture.SeriesDescription = "BrainIAC summary (research use only)"
    picture.BurnedInAnnotation, picture.ImageComments = "NO", study.document.notice
    return picture


def summary_pixels(study: AnalyzedStudy) -> np.ndarray:
    """(rows, columns, 3) uint8, without any identity."""
    document = study.document
    lines: list[tuple[str, tuple[int, int, int], int]] = [("BrainIAC: brain MRI study", _WHITE, 30)]
    lines.append((document.notice, _AMBER, 18))
    for answer in document.answers:
        doubts = f"   ({len(answer.warnings)} doubts)" if answer.warnings else ""
        between = f"   {short}" if (short := words.uncertainty(answer.trust)) else ""
        lines.append((f"{answer.task}: {answer.headline}{between}{doubts}", _WHITE, 20))
    if not document.answers:
        lines.append(("No series of this study could be answered.", _WHITE, 20))
    lines.append(("Series used: " + ", ".join(f"{one.slot} = {one.series}" for one in document.slots), _SOFT, 18))
    warnings = [one.text for one in document.findings if one.level == "warning"]
    lines += [(f"Check: {text}", _AMBER, 16) for text in warnings[:MOST_DOUBTS]]
    if len(warnings) > MOST_DOUBTS:
        lines.append((f"... and {len(warnings) - MOST_DOUBTS} more, see the report", _AMBER, 16))
    pictures = _map_pictures(study)
    return _drawn(lines, pictures)


def _map_pictures(study: AnalyzedStudy) -> list[tuple[str, Image.Image]]:
    ordered = sorted(study.document.answers, key=lambda answer: " of series " in answer.task)
    pictures: list[tuple[str, Image.Image]] = []
    for answer in ordered:
        for slot, key in answer.series.items():
            found = study.maps.get(answer.task, {}).get(slot)
            if found is not None and len(pictures) < MOST_MAPS:
                jpeg, _ = planes_picture(study.prepared[key].native, heat=found.map)
                pictures.append((f"{answer.task}, series {key}", Image.open(io.BytesIO(jpeg)).convert("RGB")))
    return pictures


def _drawn(lines: list[Any], pictures: list[tuple[str, Image.Image]]) -> np.ndarray:
    wrapped = [(part, color, size) for text, color, size in lines for part in _wrapped(text, size)]
    below = MARGIN + sum(size + 10 for _, _, size in wrapped) + 10
    height = below + sum(picture.height + LINE + 8 for _, picture in pictures) + MARGIN
    canvas = Image.new("RGB", (WIDTH, height), _BLACK)
    draw, top = ImageDraw.Draw(canvas), MARGIN
    for text, color, size in wrapped:
        draw.text((MARGIN, top), text, fill=color, font=ImageFont.load_default(size))
        top += size + 10
    top += 10
    for title, picture in pictures:
        draw.text((MARGIN, top), title, fill=_SOFT, font=ImageFont.load_default(16))
        canvas.paste(picture, (MARGIN, top + LINE))
        top += picture.height + LINE + 8
    return np.asarray(canvas)


def _wrapped(text: str, size: int) -> list[str]:
    font, lines, line = ImageFont.load_default(size), [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > WIDTH - 2 * MARGIN:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]
