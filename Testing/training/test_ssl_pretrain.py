"""A pretraining run: resumed exactly, exported as a model that installs, and clear words where it cannot go on."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

pytest.importorskip("pytorch_lightning", reason="needs the 'training' extra")

from BrainIACLib.checkpoints.importing import import_folder
from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import BrainIACError, ManifestError, TrainingError
from BrainIACLib.models.encoders import encoder
from Training.data.cache import Cache, write_cache
from Training.data.fingerprints import fingerprints_of
from Training.data.prepare import main as prepare_main
from Training.data.standardising import Standardising
from Training.ssl import callbacks, simclr
from Training.ssl.batches import StepBatches, rows_to_train_on
from Training.ssl.callbacks import Stopped
from Training.ssl.config import Hardware, Monitoring, Network, Optimisation, Pretraining, refuse_other_settings
from Training.ssl.export import export_encoder
from Training.ssl.log import CsvLog, read_log
from Training.ssl.model import VIT_SIZE, build
from Training.ssl.pretrain import main, make_parser, precision_of, pretrain
from Training.ssl.simclr import rate_factor

SIZE = (16, 16, 16)
CONFIG = Pretraining(
    name="tiny",
    network=Network(architecture="resnet10", width=1 / 16, projector_hidden=16, projector_size=8),
    optimisation=Optimisation(epochs=3, batch_size=4, learning_rate=1e-2, warmup_epochs=1),
    monitoring=Monitoring(log_every=1, every=5, checkpoint_every=4),
    hardware=Hardware(accelerator="cpu", precision="32-true"),
)
STEPS = 3 * (20 // 4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """20 volumes of 10 patients; two 'sequences' that differ in brightness."""
    rng = np.random.default_rng(0)
    sequences = ["T1", "T2"] * 10
    table = pd.DataFrame({"scan": range(20), "patient": [f"p{n // 2}" for n in range(20)], "sequence": sequences})
    volumes = [rng.random(SIZE, dtype=np.float32) * (0.3 if name == "T1" else 1) for name in sequences]
    folder = tmp_path_factory.mktemp("cache") / "c"
    how = dataclasses.asdict(Standardising(size=SIZE, steps="stored"))
    write_cache(folder, table.assign(dataset="d", role=""), volumes, preprocessing=how)
    return Cache(folder)


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole")
    pretrain(CONFIG, cache, out)
    return out


def weights(out):
    return torch.load(out / "last.ckpt", weights_only=True)["state_dict"]


def assert_equal_runs(first, second):
    ours, theirs = weights(first), weights(second)
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key
    columns = ("step", "loss", "learning_rate", "effective_rank", "knn", "probe")
    logs = [[tuple(row[name] for name in columns) for row in read_log(out / "log.csv")] for out in (first, second)]
    assert logs[0] == logs[1]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run is executed after it."""


@pytest.mark.parametrize("step", [5, 8, 11])  # steps after the checkpoints of 4 and 8, and right at one; mid-epoch
def test_killed_and_resumed_equals_unkilled(cache, whole, tmp_path, monkeypatch, step):
    look = callbacks.RunCallback._look

    def dying(self, trainer, module, done):
        if done == step:
            raise Killed
        return look(self, trainer, module, done)

    monkeypatch.setattr(callbacks.RunCallback, "_look", dying)
    with pytest.raises(Killed):
        pretrain(CONFIG, cache, tmp_path)
    monkeypatch.setattr(callbacks.RunCallback, "_look", look)
    pretrain(CONFIG, cache, tmp_path)
    assert_equal_runs(whole, tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_asked_to_stop_it_saves_first_and_goes_on_the_same(cache, whole, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    read = StepBatches._read

    def asking(self, step):
        if step == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(self, step)

    monkeypatch.setattr(StepBatches, "_read", asking)
    with pytest.raises(Stopped):
        pretrain(CONFIG, cache, tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.setattr(StepBatches, "_read", read)
    pretrain(CONFIG, cache, tmp_path)
    ours, theirs = weights(whole), weights(tmp_path)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_accumulation_is_resumed_exactly_too(cache, tmp_path, monkeypatch):
    optimisation = dataclasses.replace(CONFIG.optimisation, accumulate=2)
    monitoring = dataclasses.replace(CONFIG.monitoring, every=100)
    config = dataclasses.replace(CONFIG, optimisation=optimisation, monitoring=monitoring)
    pretrain(config, cache, tmp_path / "whole")
    save = callbacks.RunCallback.save

    def dying(self, trainer, module, done):
        save(self, trainer, module, done)
        if done == 8:
            raise Killed

    monkeypatch.setattr(callbacks.RunCallback, "save", dying)
    with pytest.raises(Killed):
        pretrain(config, cache, tmp_path / "run")
    monkeypatch.setattr(callbacks.RunCallback, "save", save)
    pretrain(config, cache, tmp_path / "run")
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_the_run_is_a_foundation_model_that_installs(cache, whole, tmp_path):
    """Contract, provenance and the encoder's own weights; the projector is gone (C-14, U-06)."""
    for name in ("last", "best"):
        installed = import_folder(whole / name, tmp_path / "models").model
        contract = installed.contract
        assert contract.head is None
        assert contract.encoder.input_size == SIZE
        assert contract.encoder.generation == "own"
        assert contract.training_data.startswith("20 scans of 10 patients")
    assert "learning_rate: 0.01" in (whole / "last" / "card.md").read_text()
    model = load_model(import_folder(whole / "last", tmp_path / "models").model)
    state = {key.removeprefix("encoder."): v for key, v in weights(whole).items() if key.startswith("encoder.")}
    plain = encoder("resnet10", 1 / 16, "gap").eval()
    plain.load_state_dict(state)
    volume = cache.batch([3]).float() / 255
    assert torch.equal(model(volume), plain(volume))


def test_the_log_tells_speed_collapse_and_probes(whole):
    rows = read_log(whole / "log.csv")
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    assert all(float(row["volumes_per_second"]) > 0 and 0 <= float(row["waiting_share"]) < 1 for row in rows)
    probed = [row for row in rows if row["probe"]]
    assert [int(row["step"]) for row in probed] == [5, 10, 15]
    assert float(probed[-1]["probe"]) == 1.0  # brightness tells the two 'sequences' apart
    assert json.loads((whole / "last" / "contract.json").read_text())["source"]["name"] == f"step-{STEPS}.safetensors"


def test_the_stem_on_cells_is_the_stem():
    """Same key, same shape, same numbers and gradients as the library's 7x7x7 convolution, odd sizes too."""
    ours, _ = build(Network(architecture="resnet10", width=0.125), SIZE, seed=1)
    plain = encoder("resnet10", 0.125, "gap")
    plain.load_state_dict(ours.state_dict())
    for size in ((16, 16, 16), (17, 18, 19)):
        volume = torch.rand(2, 1, *size)
        stems = ours.conv1(volume), plain.conv1(volume)
        torch.testing.assert_close(*stems, atol=1e-5, rtol=1e-4)
        gradients = [
            torch.autograd.grad(out.square().sum(), net.conv1.weight)[0]
            for out, net in zip(stems, (ours, plain), strict=True)
        ]
        torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_two_ranks_see_the_joined_batch_between_them(cache):
    alone = StepBatches(cache, range(20), batch_size=8, epochs=2, seed=3)
    ranks = [StepBatches(cache, range(20), batch_size=4, epochs=2, seed=3, rank=r, processes=2) for r in range(2)]
    for step in range(len(alone)):
        assert alone.rows_of(step).tolist() == [row for rank in ranks for row in rank.rows_of(step).tolist()]
    epoch = [alone.rows_of(step).tolist() for step in range(2)]
    assert len({row for rows in epoch for row in rows}) == 16  # no volume twice in an epoch
    assert epoch != [alone.rows_of(step).tolist() for step in range(2, 4)]
    resumed = StepBatches(cache, range(20), batch_size=8, epochs=2, seed=3, start=3)
    (volumes, step), *rest = resumed
    assert (step, rest) == (3, [])
    assert torch.equal(volumes, cache.batch(alone.rows_of(3)))


def test_pairs_of_two_contrasts_are_of_one_person_and_visit(cache):
    """The same pairs for one process and for two, and after a restart; a volume without a partner is its own."""
    people = Cache(cache.folder)
    people.table["patient"] = [f"p{row // 3}" for row in range(20)]  # the last person has two scans
    people.table["session"] = ""
    people.table["sequence"] = [("T1", "T2", "FLAIR")[row % 3] for row in range(20)]
    settings = {"epochs": 2, "seed": 3, "other_contrast": 1.0}
    alone = StepBatches(people, range(20), batch_size=8, **settings)
    ranks = [StepBatches(people, range(20), batch_size=4, rank=r, processes=2, **settings) for r in range(2)]
    for step in range(len(alone)):
        rows, partners = alone.rows_of(step).tolist(), alone.partners_of(step).tolist()
        assert partners == [row for rank in ranks for row in rank.partners_of(step).tolist()]
        for row, partner in zip(rows, partners, strict=True):
            assert row != partner
            assert row // 3 == partner // 3
    (volumes, step), *_ = StepBatches(people, range(20), batch_size=8, start=2, **settings)
    assert torch.equal(volumes, people.batch([*alone.rows_of(2).tolist(), *alone.partners_of(2).tolist()]))
    some = StepBatches(people, range(20), batch_size=8, epochs=50, seed=3, other_contrast=0.5)
    swapped = [(some.rows_of(step) != some.partners_of(step)).float().mean() for step in range(len(some))]
    assert float(torch.stack(swapped).mean()) == pytest.approx(0.5, abs=0.06)
    people.table["sequence"] = "T1"
    lonely = StepBatches(people, range(20), batch_size=8, **settings)
    assert torch.equal(lonely.rows_of(0), lonely.partners_of(0))


def test_a_run_on_pairs_of_two_contrasts_learns_and_ends(cache, tmp_path):
    views = dataclasses.replace(CONFIG.views, other_contrast_probability=1.0)
    pretrain(dataclasses.replace(CONFIG, views=views), cache, tmp_path)
    assert (tmp_path / "last" / "contract.json").is_file()


def test_roles_decide_what_is_trained_on(cache):
    assert rows_to_train_on(cache) == list(range(20))
    divided = Cache(cache.folder)
    divided.table["role"] = ["pretrain", "pretrain", "test", "test"] * 5
    assert rows_to_train_on(divided) == [0, 1, 4, 5, 8, 9, 12, 13, 16, 17]
    divided.table["role"] = "test"
    with pytest.raises(TrainingError, match="role pretrain"):
        rows_to_train_on(divided)


def test_a_patient_to_pretrain_on_must_not_be_tested_on(cache, tmp_path):
    """C-09."""
    leaking = Cache(cache.folder)
    leaking.table["role"] = ["pretrain", "test"] * 10
    with pytest.raises(ManifestError, match="leaks: the patient 'p0'"):
        pretrain(CONFIG, leaking, tmp_path)


def test_too_few_volumes_for_a_batch(cache, tmp_path):
    config = dataclasses.replace(CONFIG, optimisation=dataclasses.replace(CONFIG.optimisation, batch_size=21))
    with pytest.raises(TrainingError, match=r"20 volumes .* one step takes 21"):
        pretrain(config, cache, tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"optimisation": dataclasses.replace(CONFIG.optimisation, learning_rate=0.5)},
            "learning_rate was 0.01 and is now 0.5",
        ),
        ({"network": dataclasses.replace(CONFIG.network, width=1 / 8)}, "network.width was 0.0625"),
        ({"seed": 4}, "seed was 0 and is now 4"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(cache, whole, change, told):
    before = (whole / "last.ckpt").read_bytes()
    with pytest.raises(TrainingError, match="belongs to another run") as error:
        pretrain(dataclasses.replace(CONFIG, **change), cache, whole)
    assert told in str(error.value)
    assert (whole / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (None, "seed", -1),
        ("optimisation", "epochs", 0),
        ("optimisation", "accumulate", 0),
        ("optimisation", "temperature", 0.0),
        ("optimisation", "learning_rate", float("nan")),
        ("monitoring", "log_every", 0),
        ("views", "gamma", (-0.5, 2.0)),
        ("views", "crop", (0.5, 1.5)),
        ("views", "blur_sigma", (2.0, 1.0)),
        ("views", "flip_probability", 1.5),
    ],
)
def test_a_setting_that_means_nothing_is_named(cache, tmp_path, part, name, value):
    """C-01 for gamma; nothing is written."""
    changed = {name: value} if part is None else {part: dataclasses.replace(getattr(CONFIG, part), **{name: value})}
    with pytest.raises(TrainingError, match=rf"^{part + '.' if part else ''}{name} is .* must be"):
        pretrain(dataclasses.replace(CONFIG, **changed), cache, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_joined_batch_may_be_divided_anew(whole):
    stored = torch.load(whole / "last.ckpt", weights_only=True)["pretraining"]["config"]
    halves = dataclasses.replace(CONFIG, optimisation=dataclasses.replace(CONFIG.optimisation, batch_size=2))
    refuse_other_settings(stored, halves, processes=2, stored_processes=1)
    with pytest.raises(TrainingError, match="joined batch was 4 and is now 8"):
        refuse_other_settings(stored, CONFIG, processes=2, stored_processes=1)


def test_a_damaged_checkpoint_is_named(cache, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match=r"last\.ckpt' cannot be read"):
        pretrain(CONFIG, cache, tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        (
            RuntimeError("CUDA error: an illegal memory access\nCompile with"),
            r"not written \(CUDA error: an illegal .*access\)",
        ),
    ],
)
def test_a_checkpoint_that_fails_keeps_the_one_before(error, said, cache, tmp_path, monkeypatch):
    import pytorch_lightning as pl

    save = pl.Trainer.save_checkpoint

    def full(self, *arguments, **options):
        if self.global_step > 4:
            raise error
        save(self, *arguments, **options)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", full)
    with pytest.raises(TrainingError, match=rf"step 8 cannot be saved: .*{said}.*one before is kept"):
        pretrain(CONFIG, cache, tmp_path)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["pretraining"]["step"] == 4


def test_killed_while_a_checkpoint_is_copied(cache, tmp_path, monkeypatch):
    """Lightning writes to the system's temporary folder; on another disk, what it calls a move is a copy."""
    import fsspec.implementations.local as local

    def copying(source, target):
        content = Path(source).read_bytes()
        Path(target).write_bytes(content[: len(content) // 2])
        raise Killed

    real = local.shutil.move
    moved = []

    def second_fails(source, target):
        moved.append(target)
        return real(source, target) if len(moved) < 2 else copying(source, target)

    monkeypatch.setattr(local.shutil, "move", second_fails)
    with pytest.raises(Killed):
        pretrain(CONFIG, cache, tmp_path)
    assert len(moved) == 2
    monkeypatch.undo()
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["pretraining"]["step"] == 4
    pretrain(CONFIG, cache, tmp_path)  # goes on
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["pretraining"]["step"] == STEPS


def test_killed_after_the_last_checkpoint_there_is_its_model(cache, tmp_path, monkeypatch):
    """A run that counts as finished has the model of its last step, whenever it was killed."""
    replace = callbacks.os.replace

    def dying(source, target):
        replace(source, target)
        if Path(target).name == "last.ckpt" and torch.load(target)["pretraining"]["step"] == STEPS:
            raise Killed

    monkeypatch.setattr(callbacks.os, "replace", dying)
    with pytest.raises(Killed):
        pretrain(CONFIG, cache, tmp_path)
    monkeypatch.undo()
    pretrain(CONFIG, cache, tmp_path)
    assert read_contract(tmp_path / "last").source.name == f"step-{STEPS}.safetensors"


def test_a_model_folder_that_cannot_be_replaced_stays(cache, whole, tmp_path, monkeypatch):
    """As on Windows, while somebody has it open."""
    pretrain(
        dataclasses.replace(CONFIG, optimisation=dataclasses.replace(CONFIG.optimisation, epochs=1)), cache, tmp_path
    )
    before = (tmp_path / "last" / "contract.json").read_bytes()
    replace = os.replace

    def held(source, target):
        if Path(target).name == "last" and (Path(source) / "contract.json").read_bytes() != before:
            raise PermissionError(errno.EACCES, "Access is denied")
        return replace(source, target)

    monkeypatch.setattr("BrainIACLib.publishing.folders.os.replace", held)
    rows = list(range(20))
    with pytest.raises(TrainingError, match=r"last' cannot be written .*was there before is kept"):
        export_encoder(
            encoder("resnet10", 1 / 16, "gap"), tmp_path / "last", CONFIG, cache, 9, rows, fingerprints_of(cache, rows)
        )
    assert (tmp_path / "last" / "contract.json").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_log_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(TrainingError, match=r"log\.csv' cannot be written"):
        CsvLog(tmp_path / "log.csv").add(step=1)


TWO_RANKS = """
import os, signal, socket, sys
from Training.ssl import batches, pretrain

read = batches.StepBatches._read

def asking(self, step):
    if step == 6 and os.environ["STOP"] and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return read(self, step)

batches.StepBatches._read = asking
folder, *options = sys.argv[1:]
for out, stop in (("whole", ""), ("run", "yes"), ("run", "")):  # forked, so that the imports are paid once
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in "01":
        child = os.fork()
        if child == 0:
            os.environ.update(RANK=rank, LOCAL_RANK=rank, GROUP_RANK="0", WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, TORCHELASTIC_RUN_ID="x", STOP=stop)
            status = pretrain.main([*options, "--out", os.path.join(folder, out)])
            sys.stderr.flush()
            os._exit(status)
        children.append(child)
    print(out, *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="forks; as torchrun starts two ranks")
def test_two_processes_train_stop_and_go_on_as_one(cache, tmp_path):
    """The command in two processes on a CPU: a signal to one stops both, saved; the rest is as if never stopped."""
    options = ["--cache", str(cache.folder), "--optimisation.epochs", "2", "--optimisation.batch_size", "2"]
    options += [f"--network.{name}={value}" for name, value in vars(CONFIG.network).items()]
    options += [f"--monitoring.{name}={value}" for name, value in vars(CONFIG.monitoring).items()]
    options += ["--hardware.accelerator", "cpu", "--hardware.devices", "2", "--hardware.precision", "32-true"]
    ran = subprocess.run(
        [sys.executable, "-c", TWO_RANKS, str(tmp_path), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.stdout.splitlines() == ["whole 0 0", "run 130 130", "run 0 0"], ran.stderr
    assert ran.stderr.count("run the same command again") == 1
    assert "Grad strides" not in ran.stderr
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")
    assert [int(row["step"]) for row in read_log(tmp_path / "run" / "log.csv")] == list(range(1, 11))
    assert torch.load(tmp_path / "run" / "last.ckpt")["pretraining"]["processes"] == 2


def test_a_loss_that_is_not_finite_ends_the_run(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(simclr, "nt_xent", lambda first, second, temperature: (first - second).sum() * torch.nan)
    with pytest.raises(TrainingError, match="loss is not finite at step 1"):
        pretrain(CONFIG, cache, tmp_path)
    assert not (tmp_path / "last").exists()


def test_broken_weights_do_not_replace_the_checkpoint(cache, tmp_path, monkeypatch):
    """The loss of a step is still finite when its gradient is not; what was saved before must stay to go on from."""
    loss = simclr.nt_xent

    def exploding(first, second, temperature):
        value = loss(first, second, temperature)
        if exploding.after <= 0:
            value.register_hook(lambda gradient: gradient * torch.nan)
        exploding.after -= 1
        return value

    exploding.after = 7  # the eighth step, which is saved
    monkeypatch.setattr(simclr, "nt_xent", exploding)
    with pytest.raises(TrainingError, match=r"no longer finite at step 8; what was saved before is kept"):
        pretrain(CONFIG, cache, tmp_path)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["pretraining"]["step"] == 4
    assert load_model(InstalledModel(tmp_path / "last", read_contract(tmp_path / "last")))


def test_the_rate_warms_up_and_comes_down():
    factors = [rate_factor(step, 100, 10) for step in range(101)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)


def test_every_shipped_config_is_valid_and_the_paper_is_the_default():
    folder = Path(callbacks.__file__).parents[1] / "configs" / "pretrain"
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        parser = make_parser()
        options = parser.instantiate(parser.parse_args(["--config", str(path)]))
        found[path.stem] = {name: getattr(options, name) for name in Pretraining.__dataclass_fields__}
    assert set(found) == {
        "better_views",
        "night",
        "one_node_8_gpus",
        "paper",
        "slurm",
        "smoke",
        "two_contrasts",
        "vit_b",
    }
    paper = Pretraining(**found["paper"])
    assert paper.optimisation == Optimisation()  # P-11: 200 epochs, batch 32
    assert (paper.optimisation.epochs, paper.optimisation.batch_size) == (200, 32)
    assert paper.views == Pretraining().views
    assert paper.network == Network()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--optimisation.epochs", "many"], "epochs"),
        (["--optimisation.epoch", "3"], "epoch"),
        ([], "Nothing to train on"),
        (["--cache", "nowhere"], "no finished cache"),
    ],
)
def test_wrong_arguments_end_in_one_sentence(arguments, told, capsys):
    assert main(arguments) != 0
    said = capsys.readouterr().err.strip()
    assert told in said
    assert "Traceback" not in said


def test_a_transformer_goes_the_same_way(tmp_path, monkeypatch, capsys):
    """The shipped config through the command, at a sixteenth of the width: trained, resumed, imported, the same net."""
    from BrainIACLib import cli

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"scan": range(4), "patient": [f"p{n}" for n in range(4)], "dataset": "d", "role": ""})
    how = dataclasses.asdict(Standardising(size=VIT_SIZE, steps="stored"))
    volumes = [rng.random(VIT_SIZE, dtype=np.float32) for _ in range(4)]
    write_cache(tmp_path / "c", table, volumes, preprocessing=how)
    config = Path(callbacks.__file__).parents[1] / "configs" / "pretrain" / "vit_b.yaml"
    arguments = ["--config", str(config), "--cache", str(tmp_path / "c"), "--network.width", "0.0625"]
    arguments += ["--network.projector_hidden", "16", "--optimisation.batch_size", "2", "--optimisation.epochs", "1"]
    arguments += ["--hardware.accelerator", "cpu", "--hardware.precision", "32-true", "--monitoring.log_every", "1"]

    monkeypatch.setattr(callbacks.RunCallback, "_asked_to_stop", lambda self, trainer: True)
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 130  # after its first step
    start, _ = build(Network("vit_b", 0.0625, "token_mean", projector_hidden=16), VIT_SIZE, seed=0)
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    state = {key.removeprefix("encoder."): v for key, v in weights(tmp_path / "run").items() if key.startswith("enc")}
    assert all(not torch.equal(value, state[key]) for key, value in start.state_dict().items() if "weight" in key)
    rows = read_log(tmp_path / "run" / "log.csv")
    assert [row["step"] for row in rows] == ["1", "2"]

    store = tmp_path / "models"
    assert cli.main(["models", "import", str(tmp_path / "run" / "last"), "--models-dir", str(store), "--yes"]) == 0
    (folder,) = store.iterdir()
    assert read_contract(folder).encoder.architecture == "vit_b"
    model = load_model(InstalledModel(folder, read_contract(folder)))
    plain = encoder("vit_b", 0.0625, "token_mean").eval()
    plain.load_state_dict(state)
    volume = torch.from_numpy(volumes[1])[None, None]
    assert torch.equal(model(volume), plain(volume))


def test_an_edited_manifest_decides_what_is_trained_on(tmp_path, monkeypatch, capsys):
    """P-02: who was moved into the hold-out after the cache was made is not pretrained on."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(6):
        image = sitk.GetImageFromArray(rng.random((32, 32, 32), dtype=np.float32) + 0.1)
        image.SetSpacing((5, 5, 5))
        sitk.WriteImage(image, str(tmp_path / f"s{number}.nii.gz"))
        lines.append(f"s{number}.nii.gz,p{number},d,T1,pretrain\n")
    manifest, cache = tmp_path / "m.csv", tmp_path / "m-cache"
    manifest.write_text("scan,patient,dataset,sequence,role\n" + "".join(lines))
    made = ["--manifest", str(manifest), "--out", str(cache), "--steps", "stored", "--size", "16", "16", "16"]
    assert prepare_main(made) == 0
    manifest.write_text(manifest.read_text().replace("p5,d,T1,pretrain", "p5,d,T1,test"))
    arguments = ["--manifest", str(manifest), "--out", str(tmp_path / "run"), "--optimisation.epochs", "1"]
    arguments += [f"--network.{name}={value}" for name, value in vars(CONFIG.network).items()]
    arguments += ["--optimisation.batch_size", "4", "--hardware.accelerator", "cpu", "--hardware.precision", "32-true"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(arguments) == 1
    assert "was edited since" in (said := capsys.readouterr().err)
    assert "first run: python -m Training prepare" in said
    monkeypatch.delenv("WORLD_SIZE")
    assert main(arguments) == 0
    assert read_contract(tmp_path / "run" / "last").training_data.startswith("5 scans of 5 patients")


def test_vit_takes_its_own_size_only():
    with pytest.raises(BrainIACError, match="vit_b takes volumes of"):
        build(Network(architecture="vit_b", embedding="token0"), SIZE, 0)
    with pytest.raises(BrainIACError, match="unknown residual network"):
        build(Network(architecture="resnet9"), SIZE, 0)


@pytest.mark.parametrize(
    ("asked", "on_gpus", "amx", "gpu", "expected"),
    [
        ("auto", False, True, False, "bf16-mixed"),
        ("auto", False, False, True, "32-true"),
        ("auto", True, False, True, "bf16-mixed"),
        ("auto", True, True, False, "32-true"),  # a card before Ampere only imitates it
        ("32-true", True, True, True, "32-true"),
    ],
)
def test_bfloat16_is_taken_where_hardware_multiplies_it(monkeypatch, asked, on_gpus, amx, gpu, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: gpu or including_emulation)
    assert precision_of(Hardware(precision=asked), on_gpus) == expected
