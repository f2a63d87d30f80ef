"""Every format, damaged in every way: an undamaged read or a refusal (a minute's part of the benchmark)."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from BrainIACLib.scans import read_scan
from Testing.benchmarks.reader_mutations import Mutation, all_stored, answer_to, mutations, written

FORMATS = {stored.name: stored for stored in all_stored()}


@functools.cache
def truth_of(name, folder):
    return read_scan(written(FORMATS[name].files, folder) / FORMATS[name].named)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mutations")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_damage_of_every_kind_is_noticed_where_it_can_be_and_never_filled_from_memory(name, folder):
    truth = truth_of(name, folder / name)
    for mutation, _ in zip(mutations(FORMATS[name], np.random.default_rng(1)), range(20), strict=False):
        assert answer_to(FORMATS[name], mutation, folder / name, truth)[1] == "", (mutation.file, mutation.said)


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(name for name in FORMATS if FORMATS[name].covered)), data=st.data())
def test_no_bit_under_a_check_sum_gives_other_voxels(name, data, folder):
    """Hypothesis looks for the place, and shrinks it."""
    stored = FORMATS[name]
    file = data.draw(st.sampled_from(sorted(stored.covered)))
    content = bytearray(stored.files[file])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    mutation = Mutation(file, bytes(content), True, "bits")
    assert answer_to(stored, mutation, folder / "bits", truth_of(name, folder / "truth"))[1] == ""
