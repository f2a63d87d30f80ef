"""Headers of real series as tables of facts, and typical protocols of all vendors. No file is copied.

``public_headers.json``: the acquisition attributes of DICOM files in the public repositories named in "source"
(BSD-2-Clause, C. Rorden and contributors); "kind" is read off the description of the series by a person. The rules were
made while looking at them. ``fresh_headers.json``: headers that came later, of DICOM files (kinds by their
descriptions; diffusion by the b-value that nibabel reads) and of the JSON files of OpenNeuro data sets (CC0; kinds by
the names of the files). Those of "set" first were mended for after they had been counted, those of second never.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from BrainIACLib.sequences import OTHER
from BrainIACLib.studies.header_facts import facts_of
from BrainIACLib.studies.header_rules import class_of
from BrainIACLib.studies.sidecar import facts_beside

_TABLE = Path(__file__).with_name("public_headers.json")
_FRESH = Path(__file__).with_name("fresh_headers.json")
_CREATORS = {
    0x0019: "SIEMENS MR HEADER",
    0x0043: "GEMS_PARM_01",
    0x2001: "Philips Imaging DD 001",
    0x0065: "Image Private Header",
}


def public_rows() -> list[dict]:
    """All rows of the table."""
    return json.loads(_TABLE.read_text(encoding="utf-8"))


def fresh_rows(which: str) -> list[dict]:
    """The rows of one set of ``fresh_headers.json``."""
    return [row for row in json.loads(_FRESH.read_text(encoding="utf-8")) if row["set"] == which]


def is_named_right(row: dict, folder: Path) -> bool:
    """Whether the rules name a fresh header as it is; a field map or localizer must get no name of a scan at all."""
    if "sidecar" in row:
        (folder / "x.json").write_text(json.dumps(row["sidecar"]), encoding="utf-8")
        bval = folder / "x.bval"
        bval.unlink(missing_ok=True)
        if "b_values" in row:
            bval.write_text(" ".join(map(str, row["b_values"])), encoding="ascii")
        facts = facts_beside(folder / "x.nii.gz")
    else:
        facts = facts_of(header_of(row))[-1]
    found = class_of(facts)
    if row["kind"] == "dwi":
        return found.name.startswith("DWI")
    if row["kind"] in ("field map", "localizer"):
        aside = facts.phase or "localizer" in facts.words or {"LOCALIZER", "SCOUT", "MPR"} & set(facts.image_type)
        return bool(aside) or found.name in (OTHER, "")
    return found.name == row["kind"]


def header_of(row: dict) -> Dataset:
    """A header with the facts of a row."""
    header = Dataset()
    header.Modality, header.SeriesDescription = "MR", row["series"]
    for keyword, value in row["attributes"].items():
        setattr(header, keyword, value)
    for group, element, kind, value in row["private"]:
        header.add_new((group, 0x0010), "LO", _CREATORS[group])
        known = bytes.fromhex(value) if kind in ("UN", "OB") and isinstance(value, str) else value
        if kind in ("IS", "SL", "SS", "US") and not isinstance(known, (bytes, str)):
            known = [int(part) for part in known] if isinstance(known, list) else int(known)
        header[(group, element)] = DataElement((group, element), kind, known)
    return header


def _protocol(
    kind: str, vendor: str, tr: float, te: float, flip: float, sequence, variant="SK", ti=None, **more
) -> dict:
    facts = {
        "Manufacturer": vendor, "ScanningSequence": sequence, "SequenceVariant": variant, "RepetitionTime": tr,
        "EchoTime": te, "FlipAngle": flip, "ImageType": ["ORIGINAL", "PRIMARY", "M"], "MRAcquisitionType": "2D",
        **({} if ti is None else {"InversionTime": ti}), **more,
    }  # fmt: skip
    return {"kind": kind, "series": "", "attributes": facts, "private": []}


_D3 = {"MRAcquisitionType": "3D"}
_TRACE = {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"], "DiffusionBValue": 1000.0}
_B0 = {"ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], "DiffusionBValue": 0.0}
_AGENT = {"ContrastBolusAgent": "Gadovist", **_D3}
# Values as the vendors' standard protocols have them, 1.5 and 3 T.
PROTOCOLS = [
    _protocol("T1", "SIEMENS", 2300, 2.98, 9, ["GR", "IR"], ["SK", "SP", "MP"], 900, **_D3),
    _protocol("T1", "SIEMENS", 500, 9.4, 90, "SE"),
    _protocol("T1", "SIEMENS", 250, 2.5, 70, "GR", "SP"),
    _protocol("T1", "SIEMENS", 700, 11, 120, "SE", ["SK", "SP"], **_D3),
    _protocol("T1", "GE MEDICAL SYSTEMS", 8.2, 3.2, 12, "GR", ["SS", "SP", "SK"], 450, **_D3),
    _protocol("T1", "GE MEDICAL SYSTEMS", 2500, 24, 111, ["SE", "IR"], "SK", 960),
    _protocol("T1", "Philips", 8.1, 3.7, 8, "GR", "MP", **_D3),
    _protocol("T1", "Philips", 450, 10, 69, "SE", "NONE"),
    _protocol("T1", "TOSHIBA", 5.5, 2.4, 12, "GR", "MP", 900, **_D3),
    _protocol("T1CE", "SIEMENS", 1900, 2.5, 9, ["GR", "IR"], ["SK", "SP", "MP"], 900, **_AGENT),
    _protocol("T1CE", "GE MEDICAL SYSTEMS", 600, 12, 90, "SE", ContrastBolusAgent="10 ML DOTAREM"),
    _protocol("T2", "SIEMENS", 4500, 95, 150, "SE"),
    _protocol("T2", "SIEMENS", 3200, 408, 120, "SE", ["SK", "SP"], **_D3),
    _protocol("T2", "GE MEDICAL SYSTEMS", 5200, 102, 111, "SE"),
    _protocol("T2", "Philips", 3000, 80, 90, "SE"),
    _protocol("T2", "HITACHI", 4000, 90, 90, "SE"),
    _protocol("T2", "UIH", 4800, 110, 150, "SE"),
    _protocol("FLAIR", "SIEMENS", 9000, 81, 150, ["SE", "IR"], ["SK", "SP", "MP"], 2500),
    _protocol("FLAIR", "SIEMENS", 5000, 388, 120, ["SE", "IR"], ["SK", "SP", "MP"], 1800, **_D3),
    _protocol("FLAIR", "GE MEDICAL SYSTEMS", 8800, 120, 90, ["SE", "IR"], "SK", 2250),
    _protocol("FLAIR", "Philips", 11000, 125, 90, ["SE", "IR"], "SK", 2800),
    _protocol("FLAIR", "TOSHIBA", 10000, 105, 90, ["SE", "IR"], "SK", 2700),
    _protocol("PD", "SIEMENS", 2500, 15, 150, "SE"),
    _protocol("PD", "GE MEDICAL SYSTEMS", 2300, 22, 90, "SE"),
    _protocol("T2*", "SIEMENS", 28, 20, 15, "GR", "SP", **_D3),
    _protocol("T2*", "GE MEDICAL SYSTEMS", 600, 20, 20, "GR", ["SS", "SP"]),
    _protocol("T2*", "Philips", 700, 16, 18, "GR", "NONE"),
    _protocol("T2*", "SIEMENS", 27, 20, 15, "GR", "SP", ImageType=["ORIGINAL", "PRIMARY", "M", "SWI"], **_D3),
    _protocol("MRA", "SIEMENS", 21, 3.4, 18, "GR", ["SP", "TOF"], **_D3),
    _protocol("MRA", "Philips", 23, 3.5, 18, "GR", "SP", AngioFlag="Y", **_D3),
    _protocol("ADC", "SIEMENS", 6000, 80, 90, "EP", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]),
    _protocol("DWI-trace", "SIEMENS", 6000, 80, 90, "EP", **_TRACE),
    _protocol("DWI-b0", "SIEMENS", 6000, 80, 90, "EP", **_B0),
    _protocol("other", "SIEMENS", 5000, 60, 150, ["SE", "IR"], "SK", 150),
    _protocol("other", "SIEMENS", 6.0, 2.7, 50, "GR", "SS", **_D3),
]  # fmt: skip
