"""Scans that go through the encoder together give what each gives alone, and none spoils another's."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from small_encoder import install_small_encoder

from BrainIACLib.embeddings import encoder_batches
from BrainIACLib.embeddings.cohort import cases_of_files
from BrainIACLib.embeddings.encoder_batches import EncoderBatches, at_once
from BrainIACLib.embeddings.store import embed_cohort
from BrainIACLib.errors import Cancelled, ModelError, is_for_the_caller
from BrainIACLib.job import Job
from BrainIACLib.models.encoders import encoder
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.scans import read_scan

OFFICIAL = PreprocessingOptions(preset="official")


def volumes(count: int, size: int = 32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn((1, 1, size, size, size), generator=generator) for _ in range(count)]


class Encoding:
    """Adds up each volume; raises what ``trouble`` says of a batch, and notes how many came together."""

    def __init__(self, trouble=lambda batch: None):
        self.trouble, self.sizes = trouble, []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        error = self.trouble(batch)
        if error is not None:
            raise error
        return np.array([[float(volume.sum())] for volume in batch], np.float32)


def through(encoding, batch, device="cuda", size=8):
    batches = EncoderBatches(encoding, device)
    batches.size = size
    for number, volume in enumerate(batch):
        batches.add(number, volume)
    return batches, batches.embedded()


def test_on_a_cpu_one_at_a_time_and_elsewhere_several():
    assert at_once("cpu") == 1
    assert at_once("cuda") == at_once("cuda:1") == at_once("mps") == encoder_batches.AT_ONCE > 1


@pytest.mark.parametrize("architecture", ["resnet10", "resnet50", "vit_b"])
def test_a_batch_gives_what_its_scans_give_alone(architecture):
    torch.manual_seed(0)
    width, embedding, size = (1 / 16, "token0", 96) if architecture == "vit_b" else (1 / 8, "gap", 32)
    net = encoder(architecture, width, embedding).eval()
    batch = volumes(3, size)
    with torch.inference_mode():
        together = net(torch.cat(batch)).numpy()
        alone = np.concatenate([net(volume).numpy() for volume in batch])
    scale = np.abs(alone).max()
    assert np.abs(together - alone).max() <= 1e-5 * scale
    assert np.abs(alone[0] - alone[1]).max() > 1e-3 * scale, "else the test shows nothing"


def test_a_bad_scan_in_a_batch_costs_itself_alone():
    batch = volumes(5, 4)
    batch[1] = torch.full_like(batch[1], float("nan"))
    batch[3] = batch[3][..., :2]  # of another shape

    def trouble(some):
        return (
            RuntimeError("sizes must match") if len(some) > 1 and {v.shape for v in some} != {some[0].shape} else None
        )

    _, found = through(Encoding(trouble), batch)
    assert isinstance(found[1], ModelError)
    for number in (0, 2, 3, 4):
        assert found[number] == np.float32(batch[number].sum())
    broken = batch[2]
    _, found = through(Encoding(lambda some: ValueError("broken") if any(v is broken for v in some) else None), batch)
    assert isinstance(found[2], ValueError)
    assert found[4] == np.float32(batch[4].sum())


def test_a_batch_that_the_memory_does_not_hold_is_halved_and_later_ones_stay_small():
    encoding = Encoding(lambda some: RuntimeError("CUDA out of memory.") if len(some) > 3 else None)
    batches, found = through(encoding, volumes(8, 4))
    assert encoding.sizes == [8, 4, 2, 2, 4, 2, 2]
    assert batches.size == 2
    assert [isinstance(found[number], np.ndarray) for number in range(8)] == [True] * 8
    batches, found = through(Encoding(lambda some: RuntimeError("MPS backend out of memory")), volumes(2, 4), "mps")
    assert {str(error) for error in found.values()} == {"MPS backend out of memory"}  # for the caller: another device
    assert batches.size == 1


@pytest.mark.parametrize("words", ["CUDNN_STATUS_NOT_SUPPORTED", "cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED", "?"])
def test_later_batches_stay_small_whatever_a_too_large_one_failed_with_and_not_for_a_bad_scan(words):
    batches, found = through(Encoding(lambda some: RuntimeError(words) if len(some) > 3 else None), volumes(8, 4))
    assert batches.size == 2
    assert [isinstance(found[number], np.ndarray) for number in range(8)] == [True] * 8
    batch = volumes(8, 4)
    broken = batch[5]
    batches, found = through(Encoding(lambda some: ValueError("x") if any(v is broken for v in some) else None), batch)
    assert (batches.size, isinstance(found[5], ValueError)) == (8, True)


@pytest.mark.parametrize(
    "words",
    ["CUDA out of memory.", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"],
)
def test_a_full_graphics_processor_is_no_scans_fault_whoever_says_it(words):
    assert is_for_the_caller(RuntimeError(words), "cuda")
    assert not is_for_the_caller(RuntimeError(words), "cpu")


def test_no_volume_is_held_after_its_batch():
    batches, held = EncoderBatches(Encoding(lambda some: ValueError("broken")), "cuda"), []
    for number, volume in enumerate(volumes(6, 4)):
        held.append(weakref.ref(volume))
        batches.add(number, volume)
    del volume
    assert (batches.is_full, 3 in batches) == (False, True)
    found = batches.embedded()
    gc.collect()
    assert len(found) == 6
    assert [one() for one in held] == [None] * 6
    assert batches.embedded() == {}


@pytest.fixture
def scans(tmp_path):
    """Seven; the last is the first's image again, and the third no image."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, 40) for _ in range(3)), indexing="ij"))
    for number in range(7):
        noise = np.random.default_rng(number % 6).standard_normal((40, 40, 40))
        image = sitk.GetImageFromArray(np.where((grid**2).sum(0) < 0.7, 100 + 20 * noise, 0).astype(np.float32))
        image.SetSpacing((4, 4, 4))
        sitk.WriteImage(image, str(tmp_path / f"{number}.nii"))
    (tmp_path / "2.nii").write_bytes(b"nothing")
    return [tmp_path / f"{number}.nii" for number in range(7)]


def embedded(scans, out, store, **options):
    return embed_cohort(cases_of_files(scans), out, Predictor("cpu", [store]), options=OFFICIAL, **options)


def test_a_cohort_in_batches_is_the_cohort_one_by_one(scans, tmp_path, monkeypatch):
    store = tmp_path / "store"
    install_small_encoder(store)
    alone = embedded(scans, tmp_path / "alone.npz", store)
    monkeypatch.setattr(encoder_batches, "at_once", lambda device: 4)
    sizes, told, embed = [], [], Predictor.embed_inputs

    def counting(self, inputs, model_id):
        sizes.append(len(inputs))
        return embed(self, inputs, model_id)

    monkeypatch.setattr(Predictor, "embed_inputs", counting)
    together = embedded(
        scans, tmp_path / "t.npz", store, done=lambda case, why: told.append((case.path.name, why is None))
    )
    assert sizes == [4, 1]
    assert sorted(told) == [(f"{number}.nii", number != 2) for number in range(7)]
    assert (together.computed, together.reused) == (alone.computed, alone.reused) == (5, 1)
    assert together.failures == alone.failures
    for name, texts in alone.table.columns.items():
        assert list(together.table.columns[name]) == list(texts)
    assert np.abs(together.table.embeddings - alone.table.embeddings).max() <= 1e-5


def test_what_waits_for_the_encoder_is_kept_when_a_person_stops_the_run(scans, tmp_path, monkeypatch):
    store = tmp_path / "store"
    install_small_encoder(store)
    monkeypatch.setattr(encoder_batches, "at_once", lambda device: 4)
    begun = []

    def read(path):
        begun.append(path)
        return read_scan(path)

    some = [*scans[:2], *scans[3:5]]
    with pytest.raises(Cancelled):
        embedded(some, tmp_path / "t.npz", store, read=read, job=Job(cancelled=lambda: len(begun) >= 3))
    kept = (tmp_path / ".t.npz.partial").read_bytes().count(b'"embedding"')
    assert kept == 3, "prepared when it was stopped, of a batch of four"
    assert embedded(some, tmp_path / "t.npz", store).computed == 4 - kept


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory."), KeyboardInterrupt()])
def test_what_waits_for_the_encoder_is_kept_when_the_run_breaks_off(scans, tmp_path, monkeypatch, error):
    store = tmp_path / "store"
    install_small_encoder(store)
    monkeypatch.setattr(encoder_batches, "at_once", lambda device: 4)
    monkeypatch.setattr("BrainIACLib.embeddings.store.is_for_the_caller", lambda error, device: "memory" in str(error))

    def read(path):
        if path == scans[4]:
            raise error
        return read_scan(path)

    told = []
    with pytest.raises(type(error)) as raised:
        embedded(
            [*scans[:2], *scans[3:5]],
            tmp_path / "t.npz",
            store,
            read=read,
            done=lambda case, why: told.append((case.path, why)),
        )
    assert raised.value is error
    assert (tmp_path / ".t.npz.partial").read_bytes().count(b'"embedding"') == 3
    assert told == [(path, None) for path in (*scans[:2], scans[3])]
