"""3D residual networks with the state-dict keys of MONAI's ``resnet*``, without importing MONAI.

Importing MONAI costs about two seconds (design measurement), which is why the net stands here; MONAI is the
oracle of its tests. Protocol: P-09, U-01 (stem k7 stride 2, shortcut B, shortcut convolutions with a bias).
He et al. 2016, "Deep residual learning for image recognition".
"""

from __future__ import annotations

from torch import Tensor, nn

STAGE_BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut: (B, C_in, D, H, W) -> (B, planes, D/s, H/s, W/s)."""

    expansion = 1

    def __init__(self, in_planes: int, planes: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = nn.Conv3d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv3d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.act(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.act(out + shortcut)


class Bottleneck(nn.Module):
    """1-3-1 convolutions and a shortcut: (B, C_in, D, H, W) -> (B, 4 * planes, D/s, H/s, W/s)."""

    expansion = 4

    def __init__(self, in_planes: int, planes: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = nn.Conv3d(in_planes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = nn.Conv3d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(planes * self.expansion)
        self.act = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.act(self.bn1(self.conv1(x)))
        out = self.act(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.act(out + shortcut)


class ResNet(nn.Module):
    """Residual encoder: (B, 1, X, Y, Z) -> (B, embedding_size), the global average pool of the last stage (C-14).

    Parameters
    ----------
    name : ``"resnet10"``, ``"resnet18"`` (basic blocks) or ``"resnet50"`` (bottlenecks; 46,158,912 parameters and
        322 state keys at width 1, U-01).
    width : factor on the channels 64-128-256-512.
    """

    conv1: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, name: str = "resnet50", width: float = 1.0):
        super().__init__()
        if name not in STAGE_BLOCKS:
            raise ValueError(f"unknown residual network '{name}'; known: {', '.join(STAGE_BLOCKS)}")
        block = Bottleneck if name == "resnet50" else BasicBlock
        channels = [int(base * width) for base in (64, 128, 256, 512)]
        self.embedding_size = channels[-1] * block.expansion
        self.conv1 = nn.Conv3d(1, channels[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(channels[0])
        self.act = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        in_planes = channels[0]
        for stage, (planes, blocks) in enumerate(zip(channels, STAGE_BLOCKS[name], strict=True), start=1):
            setattr(self, f"layer{stage}", _stage(block, in_planes, planes, blocks, stride=1 if stage == 1 else 2))
            in_planes = planes * block.expansion
        for module in self.modules():
            # Without memory there is nothing to draw, and trying would import torch's compiler: one second.
            if isinstance(module, nn.Conv3d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))  # (B, C, X/2, Y/2, Z/2)
        x = self.maxpool(x)  # (B, C, X/4, ...)
        x = self.layer1(x)
        x = self.layer2(x)  # (B, 2C, X/8, ...)
        x = self.layer3(x)  # (B, 4C, X/16, ...)
        x = self.layer4(x)  # (B, 8C, X/32, ...)
        return x.mean(dim=(2, 3, 4))  # (B, embedding_size)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], in_planes: int, planes: int, blocks: int, stride: int
) -> nn.Sequential:
    downsample = None
    if stride != 1 or in_planes != planes * block.expansion:
        downsample = nn.Sequential(
            nn.Conv3d(in_planes, planes * block.expansion, 1, stride, bias=True),  # with a bias: U-01
            nn.BatchNorm3d(planes * block.expansion),
        )
    layers: list[nn.Module] = [block(in_planes, planes, stride, downsample)]
    layers += [block(planes * block.expansion, planes, 1, None) for _ in range(1, blocks)]
    return nn.Sequential(*layers)
