"""The night preset is what it says: fine enough, long enough, readable; its monitors become curves."""

import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")
pytest.importorskip("jsonargparse", reason="needs the 'training' extra")

from BrainIACLib.errors import TrainingError
from Training.reproduction.presets import PRESETS
from Training.ssl.config import FOLDER, read_config, refuse_impossible_settings
from Training.ssl.monitor_curves import draw_monitors
from Training.ssl.pretrain import make_parser
from Training.synthesis.template_grid import template_grid

MEASURED = 31 * 48**3  # voxels a core-second, of volumes of 48^3 at a quarter of the width


def test_the_night_preset_takes_eight_core_hours_at_three_millimeters():
    preset = PRESETS["night"]
    size = preset.cohort.size
    presentations = 4 * preset.cohort.pretrain * preset.pretraining.optimisation.epochs
    assert presentations * size[0] * size[1] * size[2] / MEASURED / 3600 >= 8
    assert max(template_grid(size).spacing) <= 3
    refuse_impossible_settings(preset.pretraining)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_a_file_of_settings_means_the_same_to_the_command_line(name):
    parser = make_parser()
    parsed = parser.instantiate(parser.parse_args(["--config", str(FOLDER / f"{name}.yaml")]))
    config = read_config(name)
    for part in ("network", "optimisation", "views", "monitoring", "hardware", "seed"):
        assert getattr(config, part) == getattr(parsed, part), part


def test_monitors_are_drawn_and_a_run_without_a_log_says_so(tmp_path):
    with pytest.raises(TrainingError, match="has begun"):
        draw_monitors(tmp_path)
    columns = ("loss", "effective_rank", "alignment", "uniformity", "knn", "probe")
    pd.DataFrame({"epoch": [1.0, 2.0], **{name: [0.5, None] for name in columns}}).to_csv(tmp_path / "log.csv")
    assert draw_monitors(tmp_path).stat().st_size > 1000
