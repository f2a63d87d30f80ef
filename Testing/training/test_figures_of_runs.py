"""Figures of finished runs: every number of the paper is drawn, shows the table's values, or says what it waits for."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil

import matplotlib.colors
import matplotlib.text
import numpy as np
import pandas as pd
import pytest
from fabricated_runs import fabricate_random_runs
from matplotlib.backends.backend_agg import FigureCanvasAgg

from BrainIACLib.errors import ResultsError
from BrainIACLib.statistics.survival import kaplan_meier
from Training.evaluation.evaluation import OWN_PRETRAINING, Evaluation, constant_value, evaluate
from Training.evaluation.risk_groups import risk_groups
from Training.figures.catalogue import FIGURES, all_figures
from Training.figures.performance_curves import bars_at_three_fractions, primary_curve
from Training.figures.saliency_rows import read_saliency, task_saliency
from Training.figures.stability import perturbations
from Training.figures.study_overview import tasks_overview
from Training.figures.style import COLOURS, WaitsFor, write
from Training.runs.cell import BUNDLED, TRIVIAL, VARIANTS
from Training.runs.cell import PAPER as INITIALISATIONS
from Training.tables.catalogue import all_tables
from Training.tables.table import p_text

PAPER = {
    *("Fig 1A", "Fig 1B", "Fig 1C", "Fig 1D"),
    *("Fig 2A", "Fig 2B", "Fig 2C", "Fig 2D", "Fig 2E", "Fig 2F", "Fig 2G", "Fig 2H", "Fig 2I"),
    *("Fig 3 internal", "Fig 3 external", "Fig 4", "Fig 5A", "Fig 5B", "Fig 5C", "Fig 5D", "Fig 5E-F"),
    *("Fig 6A", "Fig 6B", "Fig 6C", "Fig 6D"),
    *("Extended Data Fig 1", "Extended Data Fig 2", "Extended Data Fig 3"),
}


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    fabricate_random_runs(folder, cases=24, fractions=(0.4, 1.0))
    return evaluate(folder, resamples=20)[0]


@pytest.fixture(scope="module")
def drawn(evaluation):
    """Built only; the test of the report's page renders them."""
    return {figure.number: figure for figure in all_figures(evaluation)}


def test_every_figure_of_the_paper_is_drawn(drawn):
    """P-23 to P-44: all but the extra perturbations, which the fabricated runs lack."""
    assert {number for number, figure in drawn.items() if figure.figure is not None} >= PAPER
    assert (
        drawn["Extra 1"].waits_for
        == "stability sweeps of finished runs on the internal set (motion, noise, resolution)"
    )
    assert len({figure.name for figure in drawn.values()}) == len(FIGURES)


def test_every_figure_says_that_labels_are_simulated_and_for_research(drawn):
    for figure in drawn.values():
        if figure.figure is not None:
            assert "SIMULATED LABELS" in figure.figure.get_suptitle(), figure.number
            assert figure.figure.get_supxlabel() == "Research use only"


def test_curves_show_the_numbers_of_the_tables(evaluation, drawn):
    axis = drawn["Fig 2E"].figure.axes[0]
    lines = {container.get_label(): container[0] for container in axis.containers}
    for name in INITIALISATIONS:
        expected = [evaluation.number("age", "external", "mae", name, fraction)["value"] for fraction in (0.4, 1.0)]
        assert lines[name].get_ydata() == pytest.approx(expected)
        assert lines[name].get_xdata() == pytest.approx([40, 100], abs=1.01)


def test_a_constant_answer_is_learned_from_as_much_data_as_what_stands_beside_it(evaluation):
    expected = []
    for fraction in (0.4, 1.0):
        table = evaluation.of("age", "Scratch", fraction)[0].predictions
        median = table["truth"][~table["split"].isin(("test", "external"))].median()
        expected.append((table["truth"][table["split"] == "external"] - median).abs().mean())
        assert constant_value(evaluation, "age", "external", fraction) == pytest.approx(expected[-1])
    assert expected[0] != expected[1]
    (line,) = (
        one for one in primary_curve(evaluation, "age", "external").axes[0].lines if one.get_label() == "the median age"
    )
    assert line.get_ydata() == pytest.approx(expected)
    assert constant_value(evaluation, "age", "external") == pytest.approx(expected[1])  # beside the largest models


def test_stability_is_that_of_the_mean_seed_between_the_extremes(tmp_path):
    """P-42; the first seed alone would be one of several equally good answers."""
    fabricate_random_runs(tmp_path, cases=24, tasks=("age",), fractions=(0.4, 1.0), seeds=(0, 1))
    (other,) = tmp_path.glob("age-Scratch-100-seed1-*")
    table = pd.read_csv(other / "stability.csv")
    first = table["value"].copy()
    table.assign(value=first + 2).to_csv(other / "stability.csv", index=False)
    of_two = evaluate(tmp_path, resamples=20)[0]
    found = of_two.stability("age", "Scratch")
    assert found["level"].tolist() == table["level"].tolist()
    assert found["low"].tolist() == pytest.approx(first.tolist())
    assert found["value"].tolist() == pytest.approx((first + 1).tolist())
    assert found["high"].tolist() == pytest.approx((first + 2).tolist())
    drawn = perturbations(of_two).axes[0]
    line = next(line for line in drawn.lines if line.get_label() == "Scratch")
    assert line.get_ydata().tolist() == pytest.approx((first + 1)[table["perturbation"] == "contrast"].tolist())
    assert found["highest_seed"].tolist() == pytest.approx((first + 2).tolist())
    assert set(found["seeds"]) == {2}


def test_a_band_over_persons_keeps_the_range_of_the_seeds_beside_it(tmp_path):
    fabricate_random_runs(tmp_path, cases=24, tasks=("age",), fractions=(1.0,), seeds=(0, 1))
    for seed in (0, 1):
        (own,) = tmp_path.glob(f"age-Scratch-100-seed{seed}-*")
        table = pd.read_csv(own / "stability.csv")
        values = table["value"] + 10 * seed
        table.assign(value=values, low=values - 1, high=values + 1).to_csv(own / "stability.csv", index=False)
    found = evaluate(tmp_path, resamples=20)[0]
    sweep = found.stability("age", "Scratch")
    assert (sweep["high"] - sweep["low"]).tolist() == pytest.approx([2] * len(sweep))
    assert (sweep["highest_seed"] - sweep["lowest_seed"] >= 9).all()
    of_contrast = sweep[sweep["perturbation"] == "contrast"]
    drawn = [list(line.get_ydata()) for line in perturbations(found).axes[0].lines]
    for end in ("lowest_seed", "highest_seed"):
        assert of_contrast[end].tolist() in drawn


def test_overview_shows_what_the_runs_recorded(drawn):
    """P-23: a bar of Fig 1A is as long as its scans; 1B names each start and what it saw; 1C counts patients."""
    axis = drawn["Fig 1A"].figure.axes[0]
    rows = [sum(bar.get_width() for bar in axis.patches if round(bar.get_y() + 0.4) == row) for row in range(2)]
    assert rows == [3 + 4 + 5 + 6] * 2
    assert axis.get_title() == "36 scans of 6 patients in 1 data set"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["fabricated", "fabricated, pretrain"]
    words = " ".join(text.get_text() for axis in drawn["Fig 1B"].figure.axes for text in axis.texts)
    for expected in ("8 x 8 x 8 voxels", "rigid registration", "saw nothing", "random weights", "MedicalNet"):
        assert expected in words
    words = [text.get_text() for axis in drawn["Fig 1C"].figure.axes for text in axis.texts]
    assert "patients: 24 training, 24 test, 24 external; scans: 72 T1" in words  # the cells of 100 %
    assert "four classes" in words


@pytest.mark.parametrize("tasks", [("sequence",), ("sequence", "idh"), ("sequence", "age", "idh", "survival")])
def test_counts_of_the_tasks_stand_clear_of_the_boxes(tmp_path, tasks):
    """Fig 1C of few tasks is low: titles once took the room of its rows."""
    fabricate_random_runs(tmp_path, cases=8, tasks=tasks, fractions=(1.0,), extras=False)
    for path in tmp_path.glob("*/config.json"):
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"recipe": {"head": "linear"}}))
    figure = tasks_overview(evaluate(tmp_path, resamples=10)[0])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axis in figure.axes:
        (counted,) = (text for text in axis.texts if text.get_text().startswith("patients"))
        boxes = [text.get_bbox_patch() for text in axis.texts if text.get_bbox_patch()]
        assert len(boxes) == 4
        for box in boxes:
            assert not box.get_window_extent().overlaps(counted.get_window_extent())


def test_bars_explain_every_colour_and_cross(tmp_path):
    """Fig 1D: MedicalNet is wanted in all tasks and has run in none."""
    fabricate_random_runs(tmp_path, cases=8, tasks=("age", "idh"), fractions=(0.1, 0.4, 1.0), extras=False)
    for folder in tmp_path.glob("*-MedicalNet-*"):
        shutil.rmtree(folder)
    figure = bars_at_three_fractions(evaluate(tmp_path, resamples=10)[0])
    crosses = {text.get_color() for axis in figure.axes for text in axis.texts if text.get_text() == "×"}
    assert crosses == {COLOURS["MedicalNet"]}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*INITIALISATIONS, "no value"]


def test_survival_panels_show_the_kaplan_meier_curves(evaluation, drawn):
    """The high-risk curve of the last panel of the first row, by the median of the training cases (C-10)."""
    run = evaluation.of("survival", "BrainIAC", 1.0)[0]
    rows, training = run.rows("test"), run.rows("train")
    high = rows[rows["score"] > training["score"].median()]
    curve = kaplan_meier(high["time"], high["event"])
    axis = drawn["Fig 3 internal"].figure.axes[1]
    assert axis.get_title() == f"BrainIAC, 100 %: p {p_text(risk_groups(run, 'test').test.p)}"
    assert axis.lines[0].get_ydata()[:-1] == pytest.approx(curve.survival)


def test_age_scatter_shows_every_case(evaluation, drawn):
    rows = evaluation.largest("age", "BrainIAC").rows("test")
    points = drawn["Fig 5A"].figure.axes[0].collections[0].get_offsets()
    assert np.asarray(points) == pytest.approx(rows[["truth", "score"]].to_numpy())


def test_saliency_slice_is_the_strongest_in_radiological_view(evaluation, tmp_path):
    """P-43: anterior up, the patient's right on the left; the slice with most saliency."""
    image, heat = np.zeros((6, 8, 5)), np.zeros((6, 8, 5))
    image[5, 7, 3] = 1  # far right, far anterior (RAS)
    heat[1, 1, 3] = 1
    np.savez(tmp_path / "a.npz", image=image, map=heat, spacing=[1, 2, 3], patient="p", sequence="T1", target="task")
    row = read_saliency(tmp_path / "a.npz")
    assert np.argwhere(row.image == 1).tolist() == [[0, 0]]
    assert np.argwhere(row.map == 1).tolist() == [[6, 4]]
    assert row.aspect == 2
    assert row.title == "T1"
    more = {"patient": "p", "sequence": "T1", "target": "task", "answer": "T2"}
    np.savez(tmp_path / "a.npz", image=image, map=heat, spacing=[1, 2, 3], **more)
    assert read_saliency(tmp_path / "a.npz").title == "T1, answered T2"
    (tmp_path / "a.npz").write_text("no")
    with pytest.raises(ResultsError, match=r"a\.npz is not a saliency file"):
        read_saliency(tmp_path / "a.npz")


def test_maps_of_other_weights_are_shown_of_the_same_scan_and_slice(tmp_path):
    """The strongest slice of each would compare different anatomy; networks of other sizes have other grids."""
    fabricate_random_runs(tmp_path, cases=24, tasks=("age",), fractions=(1.0,))
    (scratch,) = tmp_path.glob("age-Scratch-*/saliency/task_T1.npz")
    (own,) = tmp_path.glob("age-BrainIAC-*/saliency/task_T1.npz")
    height = read_saliency(own).height
    with np.load(scratch) as arrays:
        content = dict(arrays)
    fine = {name: content[name].repeat(2, 2) for name in ("image", "map", "tumour")}
    fine["map"][..., 0] = 1.0  # where this one is the strongest
    np.savez(scratch, **content | fine)
    assert read_saliency(scratch).height < 0.05
    expected = read_saliency(scratch, height).map
    figure = task_saliency(evaluate(tmp_path, resamples=10)[0], "age")
    assert [axis.get_title().split("\n")[0] for axis in figure.axes[2:4]] == ["BrainIAC", "Scratch"]
    np.testing.assert_array_equal(figure.axes[3].images[0].get_array(), expected)
    np.testing.assert_array_equal(expected, read_saliency(scratch, height + 0.01).map)
    assert not np.array_equal(expected, read_saliency(scratch).map)


def test_a_figure_of_one_model_says_that_it_is_the_first_seeds(evaluation, monkeypatch):
    """All other figures of a measure are means of the seeds."""
    asked = []
    largest = Evaluation.largest
    monkeypatch.setattr(Evaluation, "largest", lambda *of: asked.append(of) or largest(*of))
    monkeypatch.setattr(Evaluation, "stability", lambda *_: None)  # means of the seeds
    for number, caption, draw in FIGURES:
        if number == "Fig 1C":  # counts cases, which are the same in all seeds
            continue
        asked.clear()
        with contextlib.suppress(WaitsFor):
            draw(evaluation)
        if asked:
            assert "first seed" in caption, number
    captions = {number: caption for number, caption, _ in FIGURES}
    for number in ("Fig 3 internal", "Fig 3 external"):  # of each amount the first
        assert "first seed" in captions[number]


def test_all_maps_of_a_figure_have_the_scale_that_is_drawn(tmp_path, drawn):
    """A faint slice was once as bright as a strong one: each had the scale of its own slice."""
    fabricate_random_runs(tmp_path, cases=24, tasks=("age",), fractions=(1.0,))
    (scratch,) = tmp_path.glob("age-Scratch-*/saliency/task_T1.npz")
    with np.load(scratch) as arrays:
        content = dict(arrays)
    faint = {"map": content["map"] * 0.2}
    faint["map"][0, 0, 0] = 1.0  # the volume's maximum lies in another slice
    np.savez(scratch, **content | faint)
    figure = task_saliency(evaluate(tmp_path, resamples=10)[0], "age")
    maps = [axis.images[0] for axis in figure.axes[2:4]]
    assert [one.get_clim() for one in maps] == [(0, 1)] * 2
    assert maps[1].get_array().max() < 0.25
    for one in (figure, drawn["Fig 6A"].figure, drawn["Extended Data Fig 3"].figure):
        (bar,) = (axis for axis in one.axes if axis.get_ylabel().startswith("share of the map's maximum"))
        assert bar.get_ylim() == (0, 1)
    np.savez(scratch, **content | {"map": content["map"] * 3})
    with pytest.raises(ResultsError, match="must lie from 0 to 1"):
        read_saliency(scratch)


def test_gray_lines_say_which_answer_needs_no_image(drawn):
    """The line Constant is the mean of the training ages; what else is without an image has another name."""
    figures = {number: one.figure for number, one in drawn.items() if one.figure is not None}
    labels = {number: {line.get_label() for axis in one.axes for line in axis.lines} for number, one in figures.items()}
    assert "the median age" in labels["Fig 2D"]
    assert "chance" in labels["Fig 2F"]
    for number in ("Fig 2D", "Fig 4"):  # below the lines, in their order, the gray one last
        (legend,) = figures[number].legends
        said = [text.get_text() for text in legend.get_texts()]
        assert [name for name in said if name in COLOURS] == said[: len(INITIALISATIONS)] == list(INITIALISATIONS)
    assert {"the median age", "chance"} <= labels["Fig 4"]
    assert not any("constant" in str(label).lower() for found in labels.values() for label in found)


def test_a_pretraining_without_official_weights_is_called_so_in_every_figure_and_table(tmp_path):
    fabricate_random_runs(tmp_path, cases=24, fractions=(1.0,), generation="own")
    found = evaluate(tmp_path, resamples=10)[0]
    assert found.shown("BrainIAC") == OWN_PRETRAINING
    assert found.shown("Scratch") == "Scratch"
    for table in all_tables(found):
        if table.name != "beside_the_paper":  # it has the paper's names
            assert "BrainIAC" not in table.csv(), table.name
    said = []
    for figure in all_figures(found):
        if figure.figure is not None:
            ticks = [text for axis in figure.figure.axes for text in axis.get_xticklabels()]
            texts = [text.get_text() for text in (*figure.figure.findobj(matplotlib.text.Text), *ticks)]
            assert not any("BrainIAC" in text for text in texts), figure.number
            said += [figure.number] if any(OWN_PRETRAINING in text for text in texts) else []
    assert {"Fig 1B", "Fig 1D", "Fig 2A", "Fig 2B", "Fig 2G", "Fig 3 internal", "Fig 4", "Fig 5A", "Fig 6A"} <= set(
        said
    )


def test_nothing_is_drawn_from_nothing(tmp_path):
    fabricate_random_runs(tmp_path, cases=8, tasks=("idh",), fractions=(1.0,), extras=False)
    found = evaluate(tmp_path, resamples=10)[0]
    with pytest.raises(WaitsFor, match="brain age runs with an answer to the external set"):
        primary_curve(found, "age", "external")


def test_files_are_the_same_every_time(evaluation, tmp_path):
    for name in ("first", "second"):
        write(primary_curve(evaluation, "idh", "test"), name, tmp_path)
    for suffix in (".png", ".pdf"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_colours_stay_apart_for_the_colour_blind():
    """Under simulated deuteranopia and protanopia (Machado 2009, severity 1) each pair differs by a visible step."""
    matrices = {
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    }
    for matrix in matrices.values():
        seen = [np.array(matrix) @ matplotlib.colors.to_rgb(colour) for colour in COLOURS.values()]
        for a, b in itertools.combinations(seen, 2):
            assert np.linalg.norm(a - b) > 0.25


def test_error_bars_of_many_lines_and_two_amounts_lie_side_by_side(evaluation):
    numbers = evaluation.numbers
    own = numbers[(numbers["task"] == "age") & (numbers["initialisation"] == "Scratch")]
    many = pd.concat([own.assign(initialisation=name) for name in (*INITIALISATIONS, *VARIANTS, BUNDLED, *TRIVIAL)])
    figure = primary_curve(dataclasses.replace(evaluation, numbers=many), "age", "test")
    (axis,) = figure.axes
    assert axis.get_title().startswith("Brain age, internal set")
    figure.draw_without_rendering()
    places = [axis.transData.transform(container.lines[0].get_xydata()) for container in axis.containers]
    at_all_data = sorted(points[-1][0] for points in places)
    assert len(at_all_data) == 9
    assert np.diff(at_all_data).min() > 5 * figure.dpi / 72  # a cap is four points wide
    assert max(points[0][0] for points in places) < min(at_all_data)


def test_one_line_that_errs_far_more_leaves_the_others_their_room(evaluation):
    """As a histogram learned at another scanner; the note says where it is."""
    numbers = evaluation.numbers
    far = numbers[(numbers["task"] == "age") & (numbers["initialisation"] == "Scratch")].assign(
        initialisation="Histogram", value=90.0, low=88.0, high=92.0
    )
    figure = primary_curve(dataclasses.replace(evaluation, numbers=pd.concat([numbers, far])), "age", "test")
    (axis,) = figure.axes
    known = numbers[(numbers["task"] == "age") & (numbers["split"] == "test") & (numbers["measure"] == "mae")]
    assert known["high"].max() < axis.get_ylim()[1] < 1.2 * known["high"].max()
    assert "Histogram lies above: 90 to 90" in [text.get_text() for text in axis.texts]
    plain = primary_curve(evaluation, "age", "test").axes[0]
    assert not any("lies above" in text.get_text() for text in plain.texts)
