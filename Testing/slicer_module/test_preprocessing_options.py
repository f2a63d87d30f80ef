"""A preprocessing option of the library appears in a panel from its one field: parameter, widget, and back."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import qt
from BrainIACBridge.library_texts import known
from BrainIACBridge.preprocessing_options import BrainExtraction, addRows, offered, optionsOf, withPreprocessing
from slicer.parameterNodeWrapper import parameterNodeWrapper

from BrainIACLib.preprocessing.brain_extraction.registry import AUTO_TITLE, BACKENDS
from BrainIACLib.preprocessing.options import PreprocessingOptions, option
from BrainIACLib.trust.age_gap import AgeGap
from BrainIACLib.trust.words import AGE_GAP, WITH_INTERVAL, age_gap


def test_options_come_from_the_panel_by_name_and_from_the_library_where_it_offers_none():
    parameters = SimpleNamespace(biasField=False, brainExtraction=BrainExtraction("bundled"), samples=3)
    assert optionsOf(parameters) == PreprocessingOptions(bias_field=False, brain_extraction="bundled")
    assert optionsOf(SimpleNamespace()) == PreprocessingOptions()


def test_titles_of_options_and_the_age_gap_are_shown_in_the_language_of_the_application(monkeypatch):
    asked = []

    def translate(context, text):
        asked.append((context, text))
        return "übersetzt: " + text

    monkeypatch.setattr("BrainIACBridge.library_texts.translate", translate)
    (bias, _extraction) = offered()
    assert (bias.title, bias.help) == ("übersetzt: Bias field", "übersetzt: Correct the bias field with N4")
    assert BrainExtraction("auto").label() == "übersetzt: Automatic"
    gap = AgeGap(60.0, 4.0, -2.0, 10.0, 0.9)
    shown = age_gap(gap, lambda text: text.replace("Age at the scan", "Alter").replace("interval", "Intervall"))
    assert shown == "Alter 60.0 years, brain age gap +4.0 years (90% Intervall -2.0 to +10.0)"
    assert {context for context, _text in asked} == {"BrainIACLib"}


def test_the_texts_that_can_be_translated_are_those_of_the_library():
    fields = [field for field in dataclasses.fields(PreprocessingOptions) if field.metadata["in_panel"]]
    titles = [field.name.replace("_", " ").capitalize() for field in fields]
    ways = [way.title for way in BACKENDS.values() if way.in_panel]
    texts = {*titles, *ways, AUTO_TITLE, "Correct the bias field with N4", AGE_GAP, WITH_INTERVAL}
    assert set(known()) == texts


TITLES = {"weak": "A bit", "strong-er": "A lot"}


@dataclasses.dataclass(frozen=True)
class More(PreprocessingOptions):
    denoise: bool = option(False, "remove noise before everything else")
    noise_passes: int = option(2, "how often; more is slower", limits=(1, 5))
    strength: str = option(
        "weak", "how much", ("weak", "strong-er"), titles=lambda: {"weak": "A bit", "strong-er": "A lot"}
    )
    hidden: bool = option(False, "for programs", in_panel=False)


def test_a_further_preprocessing_option_is_one_field_and_has_its_row(panel):
    """Its widget shows it, the scene keeps it, and the library gets what the person set."""
    options = offered(More)
    assert [one.name for one in options] == ["biasField", "brainExtraction", "denoise", "noisePasses", "strength"]

    class Parameters:
        other: str = ""

    box, ui = qt.QWidget(), SimpleNamespace()
    layout = qt.QFormLayout(box)
    addRows(box, ui, "A hint.", options)
    assert layout.rowCount() == len(options)
    assert ui.denoise.text() == "Remove noise before everything else"
    assert ui.noisePasses.toolTip() == "How often;\nmore is slower. A hint."
    parameters = parameterNodeWrapper(withPreprocessing(Parameters, options))(panel.logic.getParameterNode().node)
    tag = parameters.connectGui(ui)
    assert optionsOf(parameters, More) == More()
    ui.denoise.setChecked(True)
    ui.noisePasses.setValue(9)
    ui.strength.setCurrentIndex(1)
    assert [ui.strength.itemText(index) for index in (0, 1)] == ["A bit", "A lot"]
    assert optionsOf(parameters, More) == More(denoise=True, noise_passes=5, strength="strong-er")
    parameters.disconnectGui(tag)
