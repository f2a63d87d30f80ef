"""What the first answer imports, in a process of its own: monai would cost it two seconds, torch's compiler one."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import torch
from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.resources import resource

folder = resource("Models", "sequence-starter")
net = load_model(InstalledModel(folder, read_contract(folder)))
with torch.inference_mode():
    assert net(torch.zeros(1, 1, 66, 78, 63)).isfinite().all()
print(sorted({"monai", "torch._dynamo", "torchvision", "sklearn", "matplotlib", "pandas"} & set(sys.modules)))
"""


def test_the_first_forward_pass_imports_no_slow_package():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
