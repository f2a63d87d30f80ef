"""A preprocessing option of the library that a panel offers is taken from it by its name."""

from __future__ import annotations

from types import SimpleNamespace

from BrainIACBridge.choices import BrainExtraction
from BrainIACBridge.preprocessing_options import optionsOf

from BrainIACLib.preprocessing.options import PreprocessingOptions


def test_options_come_from_the_panel_by_name_and_from_the_library_where_it_offers_none():
    parameters = SimpleNamespace(biasField=False, brainExtraction=BrainExtraction("bundled"), samples=3)
    assert optionsOf(parameters) == PreprocessingOptions(bias_field=False, brain_extraction="bundled")
    assert optionsOf(SimpleNamespace()) == PreprocessingOptions()
