"""Every module of library and Training can be imported alone: what one room renames, no other still asks for."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import BrainIACLib
import Training

MODULES = sorted(
    module.name
    for package in (BrainIACLib, Training)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_it_is_imported(name):
    importlib.import_module(name)
