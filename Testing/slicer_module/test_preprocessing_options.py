"""A preprocessing option of the library appears in a panel from its one field: parameter, widget, and back."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import qt
from BrainIACBridge.preprocessing_options import BrainExtraction, addRows, offered, optionsOf, withPreprocessing
from slicer.parameterNodeWrapper import parameterNodeWrapper

from BrainIACLib.preprocessing.options import PreprocessingOptions, option


def test_options_come_from_the_panel_by_name_and_from_the_library_where_it_offers_none():
    parameters = SimpleNamespace(biasField=False, brainExtraction=BrainExtraction("bundled"), samples=3)
    assert optionsOf(parameters) == PreprocessingOptions(bias_field=False, brain_extraction="bundled")
    assert optionsOf(SimpleNamespace()) == PreprocessingOptions()


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
