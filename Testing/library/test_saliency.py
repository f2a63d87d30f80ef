"""Saliency against three references: captum's guided backpropagation, MONAI's, and a slow loop (PROTOCOL 2.3, D-11).

In float64 wherever maps must be equal: in float32 two correct orders of summation differ, and a ReLU whose input is
within rounding of zero, or a max-pool whose two largest are within rounding of each other, then decides differently,
which moves a map by up to some hundredths of its maximum.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from networks import as_after_training
from torch import Tensor, nn

from BrainIACLib.errors import Cancelled, ModelError
from BrainIACLib.job import Job
from BrainIACLib.models.heads import EncoderWithHead, LinearHead, MlpHead
from BrainIACLib.models.resnet import ResNet
from BrainIACLib.saliency import guided_smoothgrad, randomised_copy


def first_logit(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


def second_logit(outputs: Tensor) -> Tensor:
    return outputs[:, 1]


def small_net(inplace: bool = False, act: type = nn.ReLU) -> nn.Sequential:
    """In float64; each activation is a module of its own, called once (captum asks for that)."""
    torch.manual_seed(1)
    activation = {"inplace": inplace} if act is nn.ReLU else {}
    return nn.Sequential(
        nn.Conv3d(1, 6, 3, padding=1),
        act(**activation),
        nn.Conv3d(6, 8, 3, stride=2, padding=1),
        act(**activation),
        nn.AdaptiveAvgPool3d(2),
        nn.Flatten(),
        nn.Linear(64, 16),
        act(**activation),
        nn.Linear(16, 3),
    ).double()


@pytest.fixture(scope="module")
def model() -> EncoderWithHead:
    torch.manual_seed(2)
    encoder = as_after_training(ResNet("resnet18", width=0.125), seed=5)
    return EncoderWithHead(encoder, MlpHead(encoder.embedding_size, 3)).eval().double()


@pytest.fixture(scope="module")
def scan() -> Tensor:
    """(1, 1, 24, 26, 21): sizes that differ and are not all even, with an empty background."""
    generator = torch.Generator().manual_seed(3)
    volume = torch.rand(1, 1, 24, 26, 21, generator=generator, dtype=torch.float64)
    volume[..., :5] = 0
    return volume


def slow_map(model: nn.Module, inputs: Tensor, target, samples: int, noise: float, seed: int, guided: bool) -> Tensor:
    """One sample at a time, nothing rewritten, and another mechanism: hooks on the outputs of the ReLUs."""
    net = copy.deepcopy(model).eval()
    for module in net.modules():
        if isinstance(module, nn.ReLU) and guided:
            module.inplace = False
            module.register_forward_hook(lambda _m, _i, output: output.register_hook(lambda g: g.clamp(min=0)) and None)
    generator = torch.Generator().manual_seed(seed)
    gradients = []
    for _ in range(samples):
        draw = torch.randn(inputs.shape, generator=generator)
        noisy = (inputs + noise * (inputs.max() - inputs.min()) * draw.to(inputs)).requires_grad_()
        target(net(noisy)).sum().backward()
        gradients.append(noisy.grad[0, 0])
    return torch.stack(gradients).square().mean(dim=0).sqrt()


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Largest difference relative to the largest expected value."""
    assert expected.max() > 0
    assert (found - expected).abs().max() <= tolerance * expected.max()


def correlation(one: Tensor, other: Tensor) -> float:
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


@pytest.mark.parametrize("inplace", [False, True])
def test_guided_gradient_is_captums(scan, inplace):
    from captum.attr import GuidedBackprop

    net = small_net().eval()
    expected = GuidedBackprop(net).attribute(scan.clone().requires_grad_(), target=1).abs()[0, 0]
    found = guided_smoothgrad(small_net(inplace), scan, second_logit, samples=1, noise=0)
    assert_close(found.map, expected.detach(), 1e-6)
    assert found.parameters["guided_relu_modules"] == 3


@pytest.mark.parametrize("guided", [False, True])
def test_equals_the_slow_loop(model, scan, guided):
    found = guided_smoothgrad(model, scan, second_logit, samples=5, noise=0.2, seed=11, guided=guided)
    assert_close(found.map, slow_map(model, scan, second_logit, 5, 0.2, 11, guided), 1e-6)
    assert found.map.shape == (24, 26, 21)


def a_resnet50_of_ours_and_of_monai() -> tuple[nn.Module, nn.Module]:
    """The same weights; an eighth of the usual width, for speed."""
    from monai.networks.nets import ResNet as MonaiResNet

    torch.manual_seed(4)
    encoder = as_after_training(ResNet("resnet50", width=0.125), seed=5)
    ours = EncoderWithHead(encoder, LinearHead(encoder.embedding_size, 3)).eval().double()
    monai = MonaiResNet(
        "bottleneck", [3, 4, 6, 3], [8, 16, 32, 64], n_input_channels=1, conv1_t_stride=2, num_classes=3
    )
    weights = ours.encoder.state_dict() | {f"fc.{key[3:]}": value for key, value in ours.head.state_dict().items()}
    monai.load_state_dict(weights, strict=True, assign=True)
    return ours, monai.eval()


def test_monai_is_silently_plain_on_its_resnet50_and_ours_is_not():
    """D-11. MONAI's map is sqrt(sum of squares) / samples (2.3.6): the factor sqrt(samples) makes it a mean."""
    from monai.visualize import GuidedBackpropSmoothGrad

    ours, monai = a_resnet50_of_ours_and_of_monai()
    samples, seed, noise = 3, 8, 0.15
    inputs = torch.rand(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(6), dtype=torch.float64)

    def monai_map() -> Tensor:
        torch.manual_seed(seed)  # the global generator then draws what ours does
        return GuidedBackpropSmoothGrad(monai, noise, samples, verbose=False)(inputs.clone(), index=0)[0, 0]

    options = {"samples": samples, "seed": seed, "noise": noise}
    plain = guided_smoothgrad(ours, inputs, first_logit, guided=False, **options)
    guided = guided_smoothgrad(ours, inputs, first_logit, **options)
    assert (plain.parameters["method"], plain.parameters["guided_relu_modules"]) == ("SmoothGrad", 0)
    assert guided.parameters["guided_relu_modules"] == 17
    assert correlation(guided.map, plain.map) < 0.9
    assert_close(plain.map, monai_map() * samples**0.5, 1e-6)

    for module in list(monai.modules()):  # now with "relu" in the names, by which MONAI finds them
        if isinstance(getattr(module, "act", None), nn.ReLU):
            module.act = nn.Sequential(OrderedDict(relu=nn.ReLU()))
    assert_close(guided.map, monai_map() * samples**0.5, 1e-6)


def test_float32_gives_the_same_map_but_for_rounding(model, scan):
    double = guided_smoothgrad(model, scan, first_logit, samples=3).map
    single = guided_smoothgrad(copy.deepcopy(model).float(), scan.float(), first_logit, samples=3).map
    assert single.dtype == torch.float32
    assert correlation(single.double(), double) > 0.999


def test_does_not_depend_on_the_batch_size(model, scan):
    maps = [guided_smoothgrad(model, scan, first_logit, samples=5, batch_size=size).map for size in (1, 2, 5, 50, None)]
    for other in maps[1:]:
        assert_close(other, maps[0], 1e-6)


def test_the_seed_decides(model, scan):
    one, again, other = (guided_smoothgrad(model, scan, first_logit, samples=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.map, again.map)
    assert not torch.allclose(one.map, other.map, rtol=0.01)
    assert one.parameters == again.parameters


def test_maps_of_different_sample_counts_are_comparable(model, scan):
    """2.3.6: a root mean square does not shrink with the number of samples; MONAI's sum does, by sqrt(8) here."""
    few, many = (guided_smoothgrad(model, scan, first_logit, samples=n).map.mean() for n in (2, 16))
    assert 0.8 < few / many < 1.25


def test_the_record_names_method_and_parameters(model, scan):
    saliency = guided_smoothgrad(model, scan * 4, first_logit, samples=2, noise=0.1, seed=9)
    assert saliency.parameters == {
        "method": "guided backpropagation with SmoothGrad",
        "samples": 2,
        "noise": 0.1,
        "noise_standard_deviation": pytest.approx(0.4, rel=1e-3),
        "seed": 9,
        "aggregation": "root mean square over samples",
        "guided_relu_modules": 10,  # one in the stem, one in each of eight blocks, one in the head
    }


def test_every_relu_module_is_guided(model, scan):
    relus = sum(isinstance(module, nn.ReLU) for module in model.modules())
    assert guided_smoothgrad(model, scan, first_logit, samples=1).parameters["guided_relu_modules"] == relus


def test_a_network_may_begin_with_an_inplace_relu(scan):
    net = nn.Sequential(nn.ReLU(inplace=True), small_net(inplace=True))
    found = guided_smoothgrad(net, scan - 0.5, first_logit, samples=2)
    separate = nn.Sequential(nn.ReLU(), small_net())
    assert_close(found.map, slow_map(separate, scan - 0.5, first_logit, 2, 0.15, 0, guided=True), 1e-6)


class FunctionalReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class UnusedReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.act = small_net(act=nn.GELU), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize(
    "net",
    [
        small_net(act=nn.GELU),
        small_net(act=FunctionalReLU),
        nn.Sequential(small_net(), FunctionalReLU()),
        UnusedReLU(),
        EncoderWithHead(small_net(act=nn.GELU), MlpHead(3, 2).double()),
    ],
    ids=["GELU", "only a function", "one of several", "never called", "only in the head"],
)
def test_guided_is_refused_in_words_where_it_would_be_plain(net, scan):
    with pytest.raises(ModelError, match="ask for plain SmoothGrad"):
        guided_smoothgrad(net, scan, first_logit, samples=1)
    plain = guided_smoothgrad(net, scan, first_logit, samples=1, guided=False)
    assert_close(plain.map, slow_map(net, scan, first_logit, 1, 0.15, 0, guided=False), 1e-6)


def snapshot(net: nn.Module) -> tuple:
    modules = [
        (name, type(module), module.training, len(module._forward_hooks)) for name, module in net.named_modules()
    ]
    parameters = [(name, id(p), p.requires_grad, p.grad, p._version) for name, p in net.named_parameters()]
    buffers = [(name, id(b), b._version) for name, b in net.named_buffers()]
    return modules, parameters, buffers, {key: value.clone() for key, value in net.state_dict().items()}


def assert_untouched(net: nn.Module, before: tuple) -> None:
    after = snapshot(net)
    assert after[:3] == before[:3]
    assert all(torch.equal(after[3][key], value) for key, value in before[3].items())


@pytest.mark.parametrize("requires_grad", [False, True])
def test_the_model_and_the_scan_stay_as_they_are(model, scan, requires_grad):
    net = copy.deepcopy(model).requires_grad_(requires_grad).train()
    before, inputs = snapshot(net), scan.clone()
    in_training_mode = guided_smoothgrad(net, inputs, first_logit, samples=2)
    assert_untouched(net, before)
    assert torch.equal(inputs, scan)
    assert not inputs.requires_grad
    assert torch.equal(in_training_mode.map, guided_smoothgrad(model, scan, first_logit, samples=2).map)


def test_the_model_stays_as_it_is_after_an_error(model, scan):
    before = snapshot(model)
    with pytest.raises(IndexError):
        guided_smoothgrad(model, scan, lambda outputs: outputs[:, 99])
    with pytest.raises(ValueError, match="one number per sample"):
        guided_smoothgrad(model, scan, lambda outputs: outputs)
    assert_untouched(model, before)


def test_two_threads_on_one_model(model, scan):
    """MONAI swaps modules in place: two threads leave the model changed for good."""
    before = snapshot(model)
    jobs = [(first_logit, True), (second_logit, True), (first_logit, False), (second_logit, False)]
    alone = [guided_smoothgrad(model, scan, target, samples=4, guided=guided).map for target, guided in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda job: guided_smoothgrad(model, scan, job[0], samples=4, guided=job[1]).map, jobs)
        for one, other in zip(alone, together, strict=True):
            assert_close(other, one, 1e-6)
    assert_untouched(model, before)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off_and_for_a_model_made_there(scan, context):
    with context():
        net, inputs = small_net().eval(), scan.clone()
        found = guided_smoothgrad(net, inputs, first_logit, samples=2)
    assert torch.equal(found.map, guided_smoothgrad(small_net(), scan, first_logit, samples=2).map)


class OutOfMemoryAbove(nn.Module):
    """Stands in for a device: refuses batches above a size as torch does."""

    def __init__(self, largest: int):
        super().__init__()
        self.net, self.largest, self.batches = small_net(), largest, []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        if len(x) > self.largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.net(x)

    def __deepcopy__(self, memo):
        twin = OutOfMemoryAbove(self.largest)
        twin.net, twin.batches = copy.deepcopy(self.net, memo), self.batches
        return twin


def test_halves_the_batch_when_memory_runs_out(scan):
    net = OutOfMemoryAbove(largest=2)
    found = guided_smoothgrad(net, scan, first_logit, samples=9, batch_size=9)
    assert net.batches == [9, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert_close(found.map, guided_smoothgrad(small_net(), scan, first_logit, samples=9).map, 1e-6)


def test_says_so_when_not_even_one_sample_fits(scan):
    with pytest.raises(ModelError, match="too little memory"):
        guided_smoothgrad(OutOfMemoryAbove(largest=0), scan, first_logit, samples=4, batch_size=4)


def test_reports_progress_and_can_be_cancelled(model, scan):
    fractions = []

    def told(step, fraction):
        fractions.append(fraction)

    guided_smoothgrad(model, scan, first_logit, samples=4, batch_size=2, job=Job(told))
    assert fractions == [0.5, 1.0]
    fractions.clear()
    with pytest.raises(Cancelled):
        guided_smoothgrad(
            model,
            scan,
            first_logit,
            samples=4,
            batch_size=1,
            job=Job(told, lambda: len(fractions) == 2),
        )
    assert fractions == [0.25, 0.5]


def test_a_map_that_is_not_finite_is_refused(model, scan):
    with pytest.raises(ModelError, match="not finite"):
        guided_smoothgrad(model, scan, lambda outputs: outputs[:, 0] * float("inf"), samples=1)


@pytest.mark.parametrize(
    ("shape", "options"),
    [((2, 1, 8, 8, 8), {}), ((1, 8, 8, 8), {}), ((1, 1, 8, 8, 8), {"samples": 0}), ((1, 1, 8, 8, 8), {"noise": -1.0})],
)
def test_nonsense_is_refused(model, shape, options):
    with pytest.raises(ValueError, match="must be"):
        guided_smoothgrad(model, torch.zeros(shape, dtype=torch.float64), first_logit, **options)


class OneOfSeveral(nn.Module):
    """A study of several scans, of which one varies: the embeddings of the others are constants in the mean (U-03)."""

    def __init__(self, model: EncoderWithHead, others: Tensor):
        super().__init__()
        self.encoder, self.head = model.encoder, model.head
        self.register_buffer("others", others)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.encoder(x) + self.others.sum(dim=0)) / (1 + len(self.others)))


def test_one_scan_of_several(model, scan):
    """With a linear head the gradient of a mean over four scans is a quarter of the gradient of one."""
    torch.manual_seed(7)
    alone = EncoderWithHead(model.encoder, LinearHead(model.encoder.embedding_size, 3)).double()
    of_four = OneOfSeveral(alone, torch.rand(3, model.encoder.embedding_size, dtype=torch.float64))
    quarter = guided_smoothgrad(of_four, scan, first_logit, samples=2).map
    assert_close(4 * quarter, guided_smoothgrad(alone, scan, first_logit, samples=2).map, 1e-6)


def test_maps_change_when_the_weights_are_shuffled(model, scan):
    """Adebayo et al. 2018 (2.3.8): a map that did not depend on the weights would not explain the model."""
    before = snapshot(model)
    shuffled = randomised_copy(model, seed=1)
    for one, other in zip(model.parameters(), shuffled.parameters(), strict=True):
        assert torch.equal(one.flatten().sort().values, other.flatten().sort().values)
    assert_untouched(model, before)
    plain, random = (guided_smoothgrad(net, scan, first_logit, guided=False).map for net in (model, shuffled))
    assert correlation(plain, random) < 0.9
    again = guided_smoothgrad(randomised_copy(model, seed=1), scan, first_logit, guided=False).map
    assert torch.equal(random, again)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices_give_the_map_of_the_cpu(model, scan, device):
    if not getattr(torch, device).is_available():
        pytest.skip(f"needs a {device} device, which is not here")
    single = copy.deepcopy(model).float()
    expected = guided_smoothgrad(single, scan.float(), first_logit, samples=4)
    found = guided_smoothgrad(single.to(device), scan.float().to(device), first_logit, samples=4)
    assert correlation(found.map.cpu(), expected.map) > 0.999
    assert found.map.isfinite().all()
