"""The cache of volumes: exact to the step of uint8, checked, and never half there."""

import errno
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.errors import BrainIACError, CacheError
from Training.data import cache as cache_module
from Training.data.cache import Cache, write_cache

SIZE = (6, 7, 8)


@pytest.fixture
def volumes():
    return [np.random.default_rng(n).random(SIZE, dtype=np.float32) for n in range(5)]


@pytest.fixture
def table():
    return pd.DataFrame(
        {"patient": ["007", "008", "009", "010", "011"], "age_years": [1.5, np.nan, 3, 4, 5], "n": range(5)}
    )


@pytest.fixture
def folder(tmp_path, table, volumes):
    write_cache(tmp_path / "c", table, iter(volumes), volumes_per_shard=2, preprocessing={"size": [1, 2]})
    return tmp_path / "c"


def test_what_was_written_is_read(folder, table, volumes):
    cache = Cache(folder)
    pd.testing.assert_frame_equal(cache.table, table, check_dtype=False)
    assert cache.table["n"].dtype.kind == "i"
    batch = cache.batch([4, 0, 3, 0])
    assert batch.shape == (4, 1, *SIZE)
    for row, index in enumerate([4, 0, 3, 0]):
        assert np.abs(batch[row, 0].numpy() / 255 - volumes[index]).max() <= 0.5 / 255 + 1e-7
    assert (len(cache), cache.size, cache.preprocessing) == (5, SIZE, {"size": [1, 2]})
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.batch([1]) == cache.batch([1])).all()
    with pytest.raises(IndexError):
        cache.batch([5])


def test_many_shards_do_not_need_many_open_files(folder, monkeypatch):
    monkeypatch.setattr(cache_module, "OPEN_SHARDS", 1)
    cache = Cache(folder)
    expected = cache.batch([0, 1, 2, 3, 4])
    assert (cache.batch([4, 2, 0]) == expected[[4, 2, 0]]).all()
    assert len(cache._maps) == 1


def test_two_threads_may_read_at_once(folder, monkeypatch):
    """The monitors embed while the next batches are read; with more shards than may be open, both close some."""
    monkeypatch.setattr(cache_module, "OPEN_SHARDS", 1)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        cache = Cache(folder)
        expected = cache.batch(range(5))
        orders = [np.random.default_rng(n).permutation(5) for n in range(400)]
        with ThreadPoolExecutor(4) as pool:
            for order, batch in zip(orders, pool.map(cache.batch, orders), strict=True):
                assert (batch == expected[order]).all()
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: flip_a_byte(shard(f, 1)), "was changed or damaged"),
        (lambda f: os.truncate(shard(f, 2), 100), "has 100 bytes instead of"),
        (lambda f: shard(f, 0).unlink(), "cannot be read"),
        (lambda f: (f / "cache.json").unlink(), "holds no finished cache"),
        (lambda f: (f / "cache.json").write_text("{"), "cache.json' cannot be read"),
        (lambda f: (f / "volumes.csv").write_text("patient\n1\n"), "volumes.csv' was changed"),
        (lambda f: (f / "volumes.csv").unlink(), "volumes.csv' cannot be read"),
    ],
)
def test_a_damaged_cache_is_refused_in_words(folder, spoil, told):
    spoil(folder)
    with pytest.raises(CacheError) as error:
        Cache(folder)
    assert told in str(error.value)


def shard(folder, number):
    (path,) = folder.glob(f"shard-{number:05d}-*.npy")
    return path


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v[2].__setitem__((0, 0, 0), np.nan), "Volume 2 holds NaN"),
        (lambda v: v[1].__setitem__((0, 0, 0), 1.5), "Volume 1 has values from"),
        (lambda v: v.__setitem__(3, np.zeros((6, 7, 9), np.float32)), "Volume 3 has the shape"),
        (lambda v: v.pop(), "5 rows, but there are 4 volumes"),
        (lambda v: v.append(v[0]), "5 rows, but there are more volumes"),
    ],
)
def test_a_bad_volume_leaves_no_cache(tmp_path, table, volumes, change, told):
    change(volumes)
    with pytest.raises(CacheError, match=told):
        write_cache(tmp_path / "c", table, volumes)
    with pytest.raises(CacheError, match="no finished cache"):
        Cache(tmp_path / "c")


def test_an_older_cache_is_not_overwritten(folder, table, volumes):
    with pytest.raises(CacheError, match="holds a cache already"):
        write_cache(folder, table, volumes)
    Cache(folder)


def test_a_full_disk_leaves_nothing_half(tmp_path, table, volumes, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BrainIACError, match="No space left on device"):
        write_cache(tmp_path / "c", table, volumes)
    assert list((tmp_path / "c").iterdir()) == []
