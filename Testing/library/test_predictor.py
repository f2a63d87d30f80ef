"""One study, many heads: slots and masked mean, units and ranges, polarity, presets, saliency of one scan of several.

The heads are official-looking files at random initialization. The preset ``official`` feeds small synthetic brains
straight in, so that no test waits for preprocessing.
"""

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from checkpoint_files import install, v1_task, v2_task
from safetensors.torch import save_file

from BrainIACLib.checkpoints.installed import InstalledModel, find_model, load_model
from BrainIACLib.contracts import contract_to_json
from BrainIACLib.errors import BrainIACError, Cancelled, ModelError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.job import Job
from BrainIACLib.models.heads import EncoderWithHead, LinearHead, OneOfSeveral
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.preprocessing.official_preset import take_as_stored
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.scans import Scan


def brain(seed: int, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)) -> sitk.Image:
    """A noisy ellipsoid (40, 44, 36) voxels of 4 mm, zero outside."""
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (36, 44, 40)), indexing="ij"))
    values = np.where((grid**2).sum(0) < 0.7, 100 + 20 * generator.standard_normal((36, 44, 40)), 0)
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing((4, 4, 4))
    image.SetDirection(direction)
    return image


def scan(name: str, seed: int, tmp_path) -> Scan:
    return Scan(
        image=brain(seed), name=name, path=tmp_path / f"{name}.nii.gz", format="NIfTI", modality="MR",
        sha256=f"{seed:064d}", warnings=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one narrow head for each task."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)  # another seed may give an age beyond 100 years, which is refused
    files = {"age": v1_task(), "idh": v1_task(bilinear=True), "survival": v1_task(bilinear=True), "mci": v2_task()}
    files["sequence"] = v1_task(4)
    for task, official in files.items():
        install(official, task, folder)
    return folder


@pytest.fixture
def study(store, tmp_path):
    predictor = Predictor("cpu", store)
    scans = {name: scan(name, seed, tmp_path) for seed, name in enumerate(("a", "b", "c", "d"))}
    predictor.set_study(scans, PreprocessingOptions(preset="official"))
    return predictor


def installed(store, task) -> InstalledModel:
    return find_model(task, store)


def with_output(store, task, bias, tmp_path) -> Predictor:
    """A predictor whose head for ``task`` always answers ``bias``, in the unit of the network."""
    model = installed(store, task)
    folder = tmp_path / "changed" / model.contract.id
    folder.mkdir(parents=True)
    for path in model.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    size = model.contract.encoder.embedding_size
    save_file({"fc.weight": torch.zeros(1, size), "fc.bias": torch.tensor([float(bias)])}, folder / "head.safetensors")
    head = dataclasses.replace(model.contract.head, sha256=file_sha256(folder / "head.safetensors"))
    (folder / "contract.json").write_text(contract_to_json(dataclasses.replace(model.contract, head=head)))
    predictor = Predictor("cpu", folder.parent)
    predictor.set_study({"a": scan("a", 0, tmp_path)}, PreprocessingOptions(preset="official"))
    return predictor


def test_an_age_in_months_is_shown_in_years(store, tmp_path):
    """U-16: upstream's network answers months; 43.1463 months are 3.5955 years."""
    prediction = with_output(store, "age", 43.1463, tmp_path).predict("age", "a")
    assert prediction.value == pytest.approx(3.595525, rel=1e-6)
    assert (prediction.unit, prediction.label, prediction.confidence) == ("years", "3.6 years", None)
    assert prediction.headline == "3.6 years"
    assert not any("outside the range" in warning for warning in prediction.warnings)


@pytest.mark.parametrize(("months", "refused"), [(50 * 12, False), (101 * 12, True), (-60, True), (float("nan"), True)])
def test_an_age_outside_the_training_range_warns_and_an_impossible_one_is_refused(months, refused, store, tmp_path):
    """Issue 18: adult ages of 150 to 250; test 9 of the protocol."""
    predictor = with_output(store, "age", months, tmp_path)
    if refused:
        with pytest.raises(ModelError, match=r"cannot be|no number"):
            predictor.predict("age", "a")
    else:
        grave = predictor.predict("age", "a").trust.grave
        assert any("50.0 years lies outside the range" in text for text in grave)


def test_idh_shows_no_class_name_as_a_fact(study):
    """C-06: which output is the mutant is not proven."""
    prediction = study.predict("idh", {"T1CE": "a", "FLAIR": "b"})
    assert prediction.label.startswith("class ")
    assert prediction.label.endswith("; unverified)")
    assert set(prediction.probabilities) == {
        "class 0 (documented as wild type; unverified)",
        "class 1 (documented as mutant; unverified)",
    }
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert any("which class is the mutant" in warning for warning in prediction.warnings)


@pytest.mark.parametrize(("logit", "index"), [(-0.05, 1), (-0.1, 0)])
def test_survival_uses_the_threshold_of_its_contract(logit, index, store, tmp_path):
    """3.2: high risk where 1 - p >= 0.5215, so alive from p = 0.4785 on; sigmoid(-0.05) = 0.4875, (-0.1) = 0.4750."""
    predictor = with_output(store, "survival", logit, tmp_path)
    prediction = predictor.predict("survival", {"T1": "a"}, accept_missing=True)
    assert prediction.label.startswith(f"class {index} ")


def test_a_second_head_on_the_same_encoder_reads_only_its_head(tmp_path):
    official = v1_task()
    for task in ("age", "mci"):
        install(official, task, tmp_path)
    predictor = Predictor("cpu", tmp_path)
    predictor.set_study({"a": scan("a", 0, tmp_path)}, PreprocessingOptions(preset="official"))
    predictor.predict("age", "a")
    expected = Predictor("cpu", tmp_path)
    expected.set_study({"a": scan("a", 0, tmp_path)}, PreprocessingOptions(preset="official"))
    alone = expected.predict("mci", "a")
    (find_model("mci", tmp_path).folder / "encoder.safetensors").unlink()
    assert predictor.predict("mci", "a").probabilities == alone.probabilities


def test_the_mean_of_present_scans_is_used_and_slot_order_changes_nothing(study, store):
    """P-18, U-03, D-12: no zero volumes for missing scans."""
    names = {"T1": "a", "T2": "b", "T1CE": "c", "FLAIR": "d"}
    model = installed(store, "survival")
    net = load_model(model)
    encoder = dataclasses.replace(model.contract.encoder, orientation="as-stored")
    images = torch.cat([model_input(brain(seed), encoder) for seed in range(4)])
    with torch.inference_mode():
        embeddings = net.encoder(images)
        expected = {n: torch.sigmoid(net.head(embeddings[:n].mean(0, keepdim=True)))[0, 0].item() for n in (2, 4)}

    def positive(slots, **options):
        return list(study.predict("survival", slots, **options).probabilities.values())[1]

    assert positive(names) == pytest.approx(expected[4], abs=1e-6)
    assert positive(dict(reversed(names.items()))) == positive(names)
    assert positive({"T1": "d", "T2": "c", "T1CE": "b", "FLAIR": "a"}) == pytest.approx(expected[4], abs=1e-6)
    two = {"T1": "a", "T2": "b"}
    with pytest.raises(ModelError, match="missing: T1CE, FLAIR"):
        study.predict("survival", two)
    assert positive(two, accept_missing=True) == pytest.approx(expected[2], abs=1e-6)
    warnings = study.predict("survival", two, accept_missing=True).warnings
    assert any(warning.startswith("Missing: T1CE, FLAIR") for warning in warnings)


@pytest.mark.parametrize(
    ("scans", "reason"),
    [
        ("a", "takes several scans"),
        ({"T1": "a"}, "not T1"),
        ({}, "not nothing"),
        ({"T1CE": "a", "FLAIR": "a"}, "twice"),
    ],
)
def test_wrong_slots_are_refused_in_words(scans, reason, study):
    with pytest.raises(ModelError, match=reason):
        study.predict("idh", scans)


def test_each_scan_is_embedded_once_per_encoder(study, monkeypatch):
    calls = []
    forward = EncoderWithHead.forward
    monkeypatch.setattr("BrainIACLib.encoded_scans.model_input", lambda *a: calls.append(a) or model_input(*a))
    study.predict("survival", {"T1": "a", "T2": "b", "T1CE": "c", "FLAIR": "d"})
    study.predict("survival", {"T1": "a", "T2": "b", "T1CE": "c", "FLAIR": "d"})
    assert len(calls) == 4
    study.predict("age", "a")  # another file brings an encoder of its own (P-13)
    assert len(calls) == 5
    assert EncoderWithHead.forward is forward


def test_saliency_of_one_scan_holds_the_others_constant(study):
    """The map belongs to the whole study's logit: the small net agrees with the full one, and its gradient is 1/n."""
    torch.manual_seed(0)
    net = EncoderWithHead(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 6), torch.nn.ReLU()), LinearHead(6, 1)
    )
    net.eval()
    first, second, third = (torch.rand(1, 1, 2, 2, 2) for _ in range(3))
    with torch.no_grad():
        others = net.encoder(second) + net.encoder(third)
        expected = net.head((net.encoder(first) + others) / 3)
        assert torch.equal(OneOfSeveral(net, others, 3)(first), expected)

    slots = {"T1CE": "a", "FLAIR": "b"}
    label = study.predict("idh", slots).label
    for name in slots.values():
        explanation = study.explain("idh", name, label, samples=1, scans=slots)
        assert explanation.map.GetSize() == (40, 44, 36)
        assert explanation.map.GetSpacing() == (4, 4, 4)
        assert sitk.GetArrayFromImage(explanation.map).max() == 1
        assert explanation.parameters["guided_relu_modules"] == 17
        assert explanation.parameters["target"] == f"logit of {label}"


def test_a_vit_is_explained_by_plain_smoothgrad_under_that_name(study):
    """Section 2.3: guided backpropagation has no meaning for GELU."""
    label = study.predict("mci", "a").label
    explanation = study.explain("mci", "a", label, samples=1)
    assert explanation.parameters["method"] == "SmoothGrad"


def test_a_two_layer_head_on_a_vit_is_explained_by_plain_smoothgrad(store, study, tmp_path):
    """The head's own ReLU does not make guided backpropagation of a ViT possible."""
    model = installed(store, "mci")
    folder = tmp_path / "two-layer" / model.contract.id
    folder.mkdir(parents=True)
    for path in model.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    size = model.contract.encoder.embedding_size
    tensors = {"hidden.weight": torch.eye(size), "hidden.bias": torch.zeros(size)}
    save_file(
        tensors | {"fc.weight": torch.ones(1, size), "fc.bias": torch.zeros(1)}, folder / model.contract.head.weights
    )
    sha256 = file_sha256(folder / model.contract.head.weights)
    head = dataclasses.replace(model.contract.head, head_type="mlp", sha256=sha256)
    (folder / "contract.json").write_text(contract_to_json(dataclasses.replace(model.contract, head=head)))
    predictor = Predictor("cpu", folder.parent)
    predictor.set_study({"a": scan("a", 0, tmp_path)}, PreprocessingOptions(preset="official"))
    explanation = predictor.explain("mci", "a", predictor.predict("mci", "a").label, samples=1)
    assert explanation.parameters["method"] == "SmoothGrad"
    assert sitk.GetArrayFromImage(explanation.map).max() == 1


def test_a_regression_is_explained_by_its_output(store, tmp_path, study):
    explanation = study.explain("age", "a", "whatever the answer was", samples=1)
    assert explanation.parameters["target"] == "output in months"


def test_the_official_preset_takes_the_array_as_stored_and_ours_the_order_of_the_contract(store):
    """U-10, 3.2: upstream never reorients; the same brain in another array order is another input there, not here."""
    lps, ras = brain(0), sitk.DICOMOrient(brain(0), "RAS")
    contract = installed(store, "sequence").contract.encoder
    assert contract.orientation == "LPS"
    assert torch.equal(model_input(lps, contract), model_input(ras, contract))
    stored = dataclasses.replace(contract, orientation="as-stored")
    assert torch.equal(model_input(lps, stored), model_input(lps, contract))
    torch.testing.assert_close(model_input(ras, stored), model_input(lps, stored).flip(2, 3))
    taken = take_as_stored(ras)
    assert taken.image.GetDirection() == ras.GetDirection()
    assert np.array_equal(sitk.GetArrayFromImage(taken.image), sitk.GetArrayFromImage(ras))


def test_a_result_says_where_it_comes_from(study):
    prediction = study.predict("idh", {"T1CE": "a", "FLAIR": "b"})
    document = json.loads(json.dumps(prediction.to_json()))
    provenance = document["provenance"]
    assert provenance["preset"] == "official"
    assert provenance["orientation"] == "as-stored"
    assert provenance["inputs"]["FLAIR"]["sha256"] == f"{1:064d}"
    assert provenance["inputs"]["T1CE"]["model_voxel_mm"] == [4 * 40 / 128, 4 * 44 / 128, 4 * 36 / 128]
    assert [step["scan"] for step in provenance["preprocessing"]] == ["a", "b"]
    assert document["headline"] == prediction.headline
    assert document["notice"].startswith("Research use only")


def test_an_encoder_without_a_head_only_embeds(study, store):
    vector, contract = study.embed("a", installed(store, "mci").contract.id)
    assert len(vector) == contract.encoder.embedding_size == 96
    with pytest.raises(ModelError, match="No model for the task 'embedding'"):
        study.predict("embedding", "a")


def test_an_unknown_preset_is_refused(store, tmp_path):
    with pytest.raises(BrainIACError, match="standard, official"):
        Predictor("cpu", store).set_study({"a": scan("a", 0, tmp_path)}, PreprocessingOptions(preset="other"))


def test_the_progress_of_a_study_is_that_of_all_its_scans(store, tmp_path, monkeypatch):
    def instead_of_preprocessing(image, options, job, **unused):
        job.report("registration", 0.5)
        return take_as_stored(image)

    monkeypatch.setattr("BrainIACLib.prepared_study.standardise", instead_of_preprocessing)
    fractions = []
    scans = {name: scan(name, seed, tmp_path) for seed, name in enumerate("ab")}
    Predictor("cpu", store).set_study(scans, job=Job(lambda step, fraction: fractions.append(fraction)))
    assert fractions == [0.25, 0.75]


def test_only_what_is_new_in_a_study_is_prepared(store, tmp_path, monkeypatch):
    """Adding a scan costs that scan; another image, mask or option costs everything that it changes."""
    from BrainIACLib import encoded_scans as module

    prepared = []

    def instead_of_preprocessing(image, options, job, **unused):
        prepared.append(image)
        job.check()
        return take_as_stored(image)

    monkeypatch.setattr("BrainIACLib.prepared_study.standardise", instead_of_preprocessing)
    a, b, c = (scan(name, seed, tmp_path) for seed, name in enumerate("abc"))
    predictor = Predictor("cpu", store)
    mask = brain(0) > 0

    def images_prepared(scans, mask=None, seed=0):
        prepared.clear()
        done = predictor.set_study(scans, PreprocessingOptions(seed=seed), mask=mask)
        assert list(done) == list(scans)
        return prepared

    assert images_prepared({"a": a}) == [a.image]
    before = predictor.predict("age", "a")
    monkeypatch.setattr(module, "model_input", lambda *unused: pytest.fail("embedded again"))
    assert images_prepared({"b": b, "a": a}) == [b.image]
    assert predictor.predict("age", "a").value == before.value
    monkeypatch.undo()
    monkeypatch.setattr("BrainIACLib.prepared_study.standardise", instead_of_preprocessing)
    assert images_prepared({"a": dataclasses.replace(a, image=brain(0))}) == []  # read anew
    other_frame = dataclasses.replace(a, image=b.image)  # of the same file
    assert images_prepared({"a": other_frame}) == [b.image]
    assert images_prepared({"a": a}, mask=mask) == [a.image]
    assert images_prepared({"a": a}, mask=brain(0) > 0) == []
    assert images_prepared({"a": a}, mask=mask, seed=1) == [a.image]
    with pytest.raises(Cancelled):
        predictor.set_study({"a": a, "c": c}, PreprocessingOptions(seed=1), Job(cancelled=lambda: True), mask=mask)
    with pytest.raises(KeyError):
        predictor.predict("age", "c")
    assert images_prepared({"a": a, "c": c}, mask=mask, seed=1) == [c.image]
