"""The recipe of the sequence model: what it draws, what it learns from, and how its gate is chosen."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from BrainIACLib.contracts import read_contract
from BrainIACLib.resources import resource
from BrainIACLib.sequences import OTHER, STANDARD_OR_OTHER
from Training.starter import image_formation, trust
from Training.starter.image_formation import INPUT_SIZE, MODEL_GRID
from Training.starter.kinds import calibration, frozen_heads
from Training.starter.kinds.calibration import Judged, calibrated
from Training.starter.kinds.frozen_heads import Cases
from Training.starter.kinds.merging import joint, merged
from Training.starter.kinds.real_scans import FOLDS, NEVER_LEARNED, RealDraws, RealScan, fold_of, scanned_anew
from Training.starter.kinds.samples import LABELS, UNNAMED, surely_named
from Training.starter.kinds.studies_left_out import Said, Shown, report, said_by
from Training.starter.kinds.training import Recipe, expected_loss, new_net, widened
from Training.starter.samples import Sample
from Training.starter.shards import ShardReader, write_shards
from Training.synthesis.anatomy import Grid, add_plaques
from Training.synthesis.non_brain import draw_fruit
from Training.synthesis.sequences import draw_contrast
from Training.synthesis.tissue_parameters import CLASS, draw_tissues


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def ball(radius: float = 60.0) -> torch.Tensor:
    x, y, z = MODEL_GRID.axes()
    distance = (x**2 + (y + 18) ** 2 + (z - 18) ** 2).sqrt()
    return (100 - distance / 2) * (distance < radius)


def test_a_new_name_starts_as_its_share_of_other():
    """The probabilities of the four are those of the earlier head, and the new ones together those of "other"."""
    recipe = Recipe()
    earlier = torch.nn.Linear(128, len(STANDARD_OR_OTHER)).requires_grad_(False)
    net = new_net(recipe)
    names = list(net.head.state_dict())
    head = {name: earlier.weight.data if "weight" in name else earlier.bias.data for name in names}
    with torch.no_grad():
        earlier.weight[STANDARD_OR_OTHER.index(OTHER)].zero_()
    wide = widened(net, net.encoder.state_dict(), head).requires_grad_(False)
    embedding = torch.zeros(1, 128)
    before, after = earlier(embedding).softmax(1)[0], wide.head.eval()(embedding).softmax(1)[0]
    assert torch.allclose(after[:4], before[:4], atol=1e-5)
    assert after[4:].sum() == pytest.approx(float(before[4]), abs=1e-5)


def test_the_loss_is_cross_entropy_where_one_can_be_sure_and_asks_for_doubt_elsewhere():
    logits = torch.randn(3, len(LABELS), generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 5, 12])
    sure = expected_loss(logits, labels, torch.ones(3), 0.0)
    assert sure == pytest.approx(float(F.cross_entropy(logits, labels)))
    unnamed = torch.full((3,), len(LABELS))
    uniform = -logits.log_softmax(1).mean(1).mean()
    assert expected_loss(logits, unnamed, torch.ones(3), 0.03) == pytest.approx(float(uniform), rel=1e-5)
    assert UNNAMED not in LABELS
    assert (surely_named(0.0), surely_named(1.0)) == (0.5, 1.0)
    assert surely_named(0.4) < surely_named(0.7)


@pytest.mark.parametrize("label", ["T1", "T2", "FLAIR", "T1CE", "CT"])
def test_a_scan_that_is_shown_anew_stays_a_head_of_its_size(label, rng, generator):
    image = ball()
    for _ in range(3):
        shown = scanned_anew(image, label, rng, generator)
        assert shown.shape == INPUT_SIZE
        assert torch.isfinite(shown).all()
        assert (shown >= 0).all()
        assert 0.2 < (shown > 0).sum() / (image > 0).sum() < 1.5


def test_an_empty_scan_stays_empty(rng, generator):
    assert not scanned_anew(torch.zeros(INPUT_SIZE), "T1", rng, generator).any()


def test_rare_sequences_are_drawn_as_often_as_common_ones(generator):
    scans = [RealScan(f"{i}", f"{i}", "a", "T1", "auto", ball().half()) for i in range(5)]
    scans.append(RealScan("x", "x", "b", "T2", "auto", ball().half()))
    contract = calibration.encoder_contract(0.25)
    _, labels = RealDraws(scans, contract).draw(24, np.random.default_rng(0), generator)
    assert 6 <= int((labels == LABELS.index("T2")).sum()) <= 18


def test_a_study_is_left_out_with_all_its_scans():
    assert fold_of("BraTS2021") == fold_of("UPENN-GBM") == "gliomas"
    assert fold_of("neurolabusc/dcm_qa") == "public series, list 0" != fold_of("neurolabusc/dcm_qa_uih")
    assert fold_of("never heard of") == list(FOLDS)[-1]
    assert fold_of("IXI") == fold_of("ds002748") == NEVER_LEARNED


def test_the_gate_holds_back_every_wrong_answer_about_a_left_out_scan():
    """Five hundred sure and right answers, ten wrong ones of a confidence that the gate must lie above, and a surer
    wrong one about an image that is no scan of a head."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (500,), generator=generator)
    simulated = 6.0 * F.one_hot(labels, 5).float()
    real_labels = torch.randint(0, 4, (100,), generator=generator)
    real = 7.0 * F.one_hot(real_labels, 5).float()
    real[:10] = 3.5 * F.one_hot((real_labels[:10] + 1) % 4, 5).float()
    real[10] = 6.5 * F.one_hot((real_labels[10] + 1) % 4, 5).float()
    head = torch.ones(100, dtype=torch.bool)
    head[10] = False
    found = calibrated(Judged(simulated, labels, real, real_labels, torch.ones(100), head))
    wrong = (real[:10] / found.temperature).softmax(1).amax()
    assert found.gate > wrong
    assert (found.wrong, found.odd, found.passing) == (0, 1, 1.0)


def test_the_gate_counts_the_doubt_of_coarse_voxels():
    """A wrong and sure T2 of 3 mm voxels is no sure answer of the library, so it does not raise the gate."""
    labels = torch.arange(100) % 4
    sure = 7.0 * F.one_hot(labels, 5).float()
    real, real_labels = sure.clone(), labels.clone()
    real_labels[labels == 1] = 4  # the T2 answers are wrong
    gates = [
        calibrated(
            Judged(sure, labels, real, real_labels, torch.full((100,), mm), torch.ones(100, dtype=torch.bool))
        ).gate
        for mm in (1.0, 3.0)
    ]
    assert gates[1] < gates[0]


def test_one_row_gives_the_joint_odds_of_nine():
    """Nine kinds in one direction, the four in others: what is left is the softmax of the joint logits."""
    generator = torch.Generator().manual_seed(0)
    net = new_net(Recipe()).eval()
    groups = torch.randint(0, 5, (4000,), generator=generator)
    embeddings = 3 * F.one_hot(groups, 128).float() + 0.3 * torch.randn(4000, 128, generator=generator)
    weight = torch.zeros(len(LABELS), 128)
    weight[range(4), range(4)] = 2.0
    weight[4:, 4] = 2.0 + 0.1 * torch.randn(9, generator=generator)
    net.head.load_state_dict({"fc.weight": weight, "fc.bias": torch.zeros(len(LABELS))})
    five = merged(net, embeddings)
    with torch.inference_mode():
        found, wanted = five.head(embeddings).softmax(1), joint(net.head(embeddings)).softmax(1)
    assert found.shape == (4000, 5)
    assert (found - wanted).abs().max() < 0.05
    assert wanted[groups == 4, 4].mean() > 0.9


def test_the_joint_odds_of_the_others_are_halved():
    logits = torch.randn(6, len(LABELS), generator=torch.Generator().manual_seed(2))
    plain, five = logits.softmax(1), joint(logits).softmax(1)
    for row in range(6):
        expected = 0.5 * float(sum(plain[row, 4:])) / float(plain[row, 0])
        assert float(five[row, 4] / five[row, 0]) == pytest.approx(expected, rel=1e-5)
        assert float(five[row, 1] / five[row, 0]) == pytest.approx(float(plain[row, 1] / plain[row, 0]), rel=1e-5)


def _shown(truth: list[str], folds: list[str], anew: list[bool], voxel_mm: list[float]) -> Shown:
    volumes = torch.zeros(len(truth), 1, 2, 2, 2)
    subjects = np.arange(len(truth))
    return Shown(volumes, np.array(truth), np.array(folds), subjects, np.array(anew), np.array(voxel_mm))


def test_a_scan_is_answered_by_the_net_that_did_not_see_its_fold():
    """One net says T2, the other FLAIR; with coarse voxels the T2 stays and is no sure one."""
    head = read_contract(resource("Models", "sequence-starter")).head
    logits = {"gliomas": 12.0 * F.one_hot(torch.tensor([1]), 5), "all others": 12.0 * F.one_hot(torch.tensor([2]), 5)}
    nets = {fold: lambda volume, of=of: of for fold, of in logits.items()}
    images = _shown(["T2"] * 3, ["gliomas", "all others", "gliomas"], [False] * 3, [1.0, 1.0, 3.0])
    said = said_by(nets, head, images)
    assert said.label.tolist() == ["T2", "FLAIR", "T2"]
    assert said.sure.tolist() == [True, True, False]


def test_the_table_of_studies_left_out_counts_as_a_plain_loop_does():
    rng = np.random.default_rng(4)
    names = ["T1", "T2", "FLAIR", "T1CE", "other"]
    truth = [names[i % 5] for i in range(80)]
    anew = [i >= 40 for i in range(80)]
    images = _shown(truth, ["gliomas" if i % 3 else "never learned" for i in range(80)], anew, [1.0] * 80)
    first, second = (Said(np.array(rng.choice(names, 80)), rng.uniform(0.3, 1, 80), gate) for gate in (0.7, 0.5))
    lines = report(images, {"first": first, "second": second}).splitlines()
    for later in (False, True):
        those = [i for i in range(80) if anew[i] == later]
        four = [i for i in those if truth[i] != "other"]
        rest = [i for i in those if truth[i] == "other"]
        for title, wanted, of in (
            ("right", lambda s, i: s.label[i] == truth[i], four),
            ("right and above the gate", lambda s, i: s.label[i] == truth[i] and s.confidence[i] >= s.gate, four),
            ("wrong and above the gate", lambda s, i: s.label[i] != truth[i] and s.confidence[i] >= s.gate, four),
            ("the same, above the gate", lambda s, i: s.label[i] != "other" and s.confidence[i] >= s.gate, rest),
        ):
            row = [line for line in lines if line.startswith(f"| {title} |")][later]
            counts = [sum(bool(wanted(said, i)) for i in of) for said in (first, second)]
            assert row == f"| {title} | {len(of)}, {len(of)} | {counts[0]} | {counts[1]} |"


def test_what_has_no_label_of_its_own_counts_as_other_in_the_trust_statistics(tmp_path, monkeypatch):
    """The same quantile and distances from labels beyond the last as from labels that were "other" all along."""
    rng = np.random.default_rng(3)
    embeddings, labels = rng.normal(0, 1, (400, 128)), rng.integers(0, 14, 400)
    found = {}
    for name, of in (("beyond", labels), ("other", labels.clip(max=4))):
        shutil.copytree(resource("Models", "sequence-starter"), tmp_path / name)
        drawn = (embeddings, of, np.arange(400) % 20)
        monkeypatch.setattr(trust, "_embedded", lambda *_, drawn=drawn: drawn)
        found[name] = trust.add_trust(tmp_path / name, tmp_path, (1, 2), (3, 4))
    assert found["beyond"] == found["other"]
    assert found["other"]["cases"] == int((labels < 4).sum())


def test_what_a_recipe_never_does_draws_no_random_number():
    """So that the seeds of version 1.2 still give the images that it was trained on."""
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    assert not image_formation._happens(0.0, rng)
    assert rng.random() == untouched.random()
    assert image_formation._happens(1.0, rng)


def test_shards_give_back_what_was_drawn(tmp_path):
    drawn = [Sample(torch.full((2, 2, 2), i, dtype=torch.uint8), "ab"[i % 2], f"{i}", 1 - i / 10) for i in range(6)]
    write_shards(tmp_path, 7, range(2), 3, lambda index: [drawn[index]], ("a", "b"))
    reader = ShardReader(tmp_path, 7, ("a", "b"), check=lambda: None)
    reader.grow(2)
    volumes, labels, details, sureness = reader.all()
    assert torch.equal(volumes[:, 0], torch.stack([sample.volume for sample in drawn]))
    assert labels.tolist() == [0, 1] * 3
    assert details == [sample.detail for sample in drawn]
    assert sureness.tolist() == pytest.approx([sample.sureness for sample in drawn])
    _, labels, _ = reader.draw(20, (0.0, 1.0), np.random.default_rng(0))
    assert labels.tolist() == [1] * 20


def test_plaques_lie_in_white_matter_alone(rng):
    grid = Grid((40, 40, 40), (1.5, 1.5, 1.5), (0.0, 0.0, 0.0))
    tissue = torch.full(grid.size, CLASS["cortex"], dtype=torch.uint8)
    tissue[8:32, 8:32, 8:32] = CLASS["white_matter"]
    tissue[17:23, 17:23, 17:23] = CLASS["ventricular_csf"]
    before = tissue.clone()
    add_plaques(tissue, grid, rng)
    changed = tissue != before
    assert changed.any()
    assert (before[changed] == CLASS["white_matter"]).all()
    assert set(tissue[changed].tolist()) <= {CLASS["white_matter_lesion"], CLASS["tumour_solid"]}


def test_a_fruit_has_an_inside_and_an_outside(rng, generator):
    volume = draw_fruit(MODEL_GRID, rng, generator)
    assert torch.isfinite(volume).all()
    assert 0.02 < (volume > 0.05).float().mean() < 0.9


def test_most_perfusion_images_show_gray_matter_brighter_than_white():
    """Not all: a short repetition time at a large flip angle weights by T1."""
    rng = np.random.default_rng(3)
    shown = [draw_contrast("perfusion", draw_tissues(rng), rng) for _ in range(40)]
    assert all(one.echo_planar for one in shown)
    assert np.mean([one.signal[CLASS["cortex"]] > one.signal[CLASS["white_matter"]] for one in shown]) > 0.7


def test_what_myelinates_early_is_ahead_of_the_cerebrum():
    """At half maturity the brainstem's T1 is nearer to the adult's than the white matter's, in shares of the way."""
    rng = [np.random.default_rng(5) for _ in range(3)]
    newborn, half, adult = (draw_tissues(r, 3.0, maturity).t1 for r, maturity in zip(rng, (0.0, 0.5, 1.0), strict=True))
    way = {
        name: np.log(newborn[CLASS[name]] / half[CLASS[name]]) / np.log(newborn[CLASS[name]] / adult[CLASS[name]])
        for name in ("white_matter", "brainstem")
    }
    assert way["brainstem"] > way["white_matter"] + 0.2


def test_the_shares_of_a_batch_are_shares():
    recipe = Recipe()
    for stage in (recipe.simulated, recipe.mixed):
        assert sum(stage.shares) == pytest.approx(1)
        assert len(stage.shares) == len(LABELS) + 1


def _cases(values: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> Cases:
    files = np.arange(len(labels)).astype(str)
    of = dict.fromkeys(frozen_heads.REPRESENTATIONS, values)
    return Cases(files, labels, sources, np.ones(len(labels)), np.zeros((len(labels), 5)), of)


def test_a_source_is_answered_by_a_fit_that_did_not_see_it():
    """Each source has a mark of its own and the wrong labels in the last: only a fit that saw it could follow them."""
    rng = np.random.default_rng(0)
    sources = np.repeat([f"{i:02d}" for i in range(12)], 20)
    labels = np.where(rng.random(len(sources)) < 0.5, "a", "b")
    marks = (sources[:, None] == np.unique(sources)) * 3.0
    values = np.hstack([np.where(labels == "a", 2.0, -2.0)[:, None] + rng.normal(0, 0.3, (len(labels), 1)), marks])
    turned = np.where(sources == "11", np.where(labels == "a", "b", "a"), labels)
    outputs, classes = frozen_heads.source_left_out(_cases(values, turned, sources), None, "levels", turned, turned[:0])
    said = classes[outputs.argmax(1)]
    assert (said == labels).mean() > 0.98
    assert (said == turned)[sources == "11"].mean() < 0.1


def test_macro_f1_is_that_of_a_plain_count():
    truth, said = np.array(list("aaabbc")), np.array(list("aabbac"))
    assert frozen_heads.macro_f1(truth, said)[0] == pytest.approx((2 * 2 / 6 + 2 * 1 / 4 + 1) / 3)


def test_the_embedding_of_the_levels_is_that_of_the_encoder():
    encoder = new_net(Recipe()).eval().encoder
    volumes = torch.randn(2, 1, *INPUT_SIZE, generator=torch.Generator().manual_seed(0))
    found = frozen_heads.numbers_of(encoder, volumes)
    with torch.inference_mode():
        assert np.allclose(found["embedding"], encoder(volumes).numpy(), atol=1e-5)
    assert {name: values.shape for name, values in found.items()} == {
        "histogram": (2, 32),
        "block averages": (2, 240),
        "embedding": (2, 128),
        "levels": (2, 512),
    }
