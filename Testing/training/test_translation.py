"""Persons of whom there are volumes alone: a linear world with known noise comes back."""

import numpy as np
import pytest

from Training.starter.anatomy.translation import Regions, Translated, regions_of, translate

PERSONS, KNOWN, REGIONS, NUMBERS = 900, 300, 12, 5
NOISE = np.array([0.0, 0.5, 1.0, 2.0, 1.0])


def world() -> tuple[Regions, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(PERSONS, REGIONS)) * rng.uniform(0.1, 3, REGIONS)
    weights = rng.normal(size=(REGIONS, NUMBERS)) / values.std(axis=0)[:, None] / np.sqrt(REGIONS)
    weights[:, -1] = 0  # the last number has nothing to do with the regions
    persons = np.array([f"IXI{i:03}-Guys-{i:04}" for i in range(PERSONS)])
    told = values @ weights + 3
    said = told + rng.normal(size=told.shape) * NOISE
    regions = Regions(persons, np.full(PERSONS, "Guys"), rng.uniform(40, 86, PERSONS), values)
    return regions, told, dict(zip(persons[:KNOWN], said[:KNOWN], strict=True))


@pytest.fixture(scope="module")
def translated() -> Translated:
    regions, _, seen = world()
    return translate(regions, seen)


def test_those_without_a_scan_are_translated_and_no_one_else(translated):
    regions, _, seen = world()
    assert translated.regions.persons.tolist() == regions.persons[KNOWN:].tolist()
    assert not set(translated.regions.persons) & set(seen)


def test_what_regions_tell_comes_back_with_the_errors_of_the_known_persons(translated):
    _, told, _ = world()
    left = translated.values - told[KNOWN:]
    assert np.abs(left[:, 0]).max() < 0.2  # no noise: the line alone
    assert left[:, 1:4].std(axis=0) == pytest.approx(NOISE[1:4], rel=0.15)


def test_the_share_followed_is_that_of_the_variance_that_regions_tell(translated):
    _, told, _ = world()
    spread = told.var(axis=0)
    assert translated.followed[:4] == pytest.approx((spread / (spread + NOISE**2))[:4], abs=0.1)
    assert translated.followed[4] < 0.05


def test_ages_take_no_part(translated):
    regions, _, seen = world()
    aged = Regions(regions.persons, regions.sites, regions.ages[::-1], regions.values)
    assert np.array_equal(translate(aged, seen).values, translated.values)


def test_the_table_becomes_logarithms_of_shares(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "IXI_three_sites_DLMUSE_volumes_with_age.csv").write_text(
        "ID,702,601,23,30,47,Age,Sex\n"
        "IXI016-Guys-0697-T1,1000000,500000,1000,2000,0,55.2,M\n"
        "IXI017-IOP-0698-T1,1200000,600000,1200,1200,5,61.0,F\n"
        "IXI018-HH-0699-T1,1100000,600000,1200,1200,5,,F\n"
    )
    found = regions_of(tmp_path)
    assert found.persons.tolist() == ["IXI016-Guys-0697", "IXI017-IOP-0698"]
    assert found.sites.tolist() == ["Guys", "IOP"]
    # the sum 601 and the region that one person lacks are not among them
    assert found.values == pytest.approx(np.log([[1e6, 1e-3, 2e-3], [1.2e6, 1e-3, 1e-3]]))
