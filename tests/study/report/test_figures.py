import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from jaxcnn.pictures.style import LOOKS, draw_interval, label_log, limits, look, pictures, write_figure
from jaxcnn.study.report.contrasts import class_figure, contrast_figure
from jaxcnn.study.report.costs import ledger_figure, pareto_figure
from jaxcnn.study.report.curves import error_figure, fitting_figure, learning_figure
from jaxcnn.study.report.depth import DepthAxis
from jaxcnn.study.report.tuning import expected_figure, sensitivity_figure
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verdict.findings import ClassFinding
from tests.study.planted import TEN_SETTINGS, family_arms, planted_study, valley

ERRORS = {8: (0.03, 0.025, 0.0275), 14: (0.02, 0.0225, 0.0175), 20: (0.015, 0.0125, 0.0175)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    result = planted_study(tmp_path_factory.mktemp("small"), ERRORS, images=400)
    return result, analyse(result)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    arms = family_arms((15_000, 60_000))
    directory = tmp_path_factory.mktemp("tuned")
    result = planted_study(directory, valley(), arms=arms, seeds=2, tuning=TEN_SETTINGS)
    return result, analyse(result)


def shown(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def styles(axes):
    """What tells the named series of a panel apart without colour."""
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    return [(line.get_marker(), str(line.get_linestyle()), line.get_markerfacecolor() == "none") for line in lines]


def test_looks_differ_in_marker_and_line():
    colors, markers, lines = zip(*LOOKS, strict=True)
    assert len(set(markers)) == len(set(map(str, lines))) == len(set(map(to_rgb, colors))) == len(LOOKS)
    assert len({(look(n)["marker"], look(n)["markerfacecolor"] == "white") for n in range(16)}) == 16


def test_errors_show_means_seeds_intervals_widths_and_the_trend(study):
    result, findings = study
    (axes,) = error_figure(findings, result.plan.budgets).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8\nw 10-\n20-\n39", "14\nw 7-\n14-\n27", "20\nw 5"]
    mean = next(line for line in axes.lines if line.get_marker() == "s")
    np.testing.assert_allclose(mean.get_ydata(orig=False), [100 * np.mean(ERRORS[depth]) for depth in (8, 14, 20)])
    seeds = [line.get_ydata(orig=False) for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(seeds, [[100 * error for error in ERRORS[depth]] for depth in (8, 14, 20)])
    assert any(line.get_marker() == "D" for line in axes.lines)
    assert len(set(styles(axes))) == len(styles(axes))


@pytest.mark.parametrize("draw", [error_figure, fitting_figure, expected_figure])
def test_a_panel_a_budget_with_series_told_apart_without_colour(tuned, draw):
    result, findings = tuned
    panels = shown(draw(findings, result.plan.budgets))
    assert [axes.get_title(loc="left") for axes in panels] == ["15,000 parameters", "60,000 parameters"]
    for axes in panels:
        assert len(set(styles(axes))) == len(styles(axes)) > 1


def test_sensitivity_marks_the_chosen_point_the_edge_and_what_diverged(tuned):
    result, findings = tuned
    arms = [finding for finding in findings.arms if finding.arm.budget == 15_000]
    panels = shown(sensitivity_figure(result, arms))
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles[0] == "depth 8, width 12"
    assert titles[3] == "depth 32, width 5-10-19\n(edge)"
    for axes, finding in zip(panels, arms, strict=True):
        ring = next(line for line in axes.lines if line.get_label() == "chosen")
        assert ring.get_xdata(orig=False)[0] == finding.setting.learning_rate
        np.testing.assert_allclose(ring.get_ydata(orig=False)[0], 100 * finding.tuning_error)
        lost = sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "x")
        assert lost == finding.diverged_trials
        assert len(set(styles(axes))) == len(styles(axes))


def test_learning_curves_end_where_a_run_diverged(tmp_path):
    result = planted_study(tmp_path, {8: (0.1, 0.1), 20: (0.2, 0.2)}, diverged={(20, 1)})
    findings = analyse(result)
    panels = shown(learning_figure(result, findings.arms))
    training = [next(line for line in axes.lines if line.get_label() == "training") for axes in panels]
    assert [int(np.isfinite(line.get_ydata(orig=False)).sum()) for line in training] == [4, 2]
    assert [text.get_text() for text in panels[1].texts] == ["1 run diverged"]


def test_ledgers_are_relative_to_the_widest(study):
    _, findings = study
    (axes,) = ledger_figure(findings, findings.contrasts).axes
    lines = {line.get_label(): line.get_ydata(orig=False) for line in axes.lines}
    assert set(lines) == {"parameters", "MACs", "activations", "memory", "time per step"}
    np.testing.assert_allclose(lines["MACs"], [1, 520 / 500, 530 / 500])
    assert len(set(styles(axes))) == 5


def test_fronts_fill_and_name_who_is_not_beaten(study):
    result, findings = study
    figure = pareto_figure(findings, result.plan.arms, result.plan.budgets)
    assert [axes.get_xlabel().split(" (")[0] for axes in figure.axes] == [
        "parameters", "MACs per image", "memory of a step", "time per step",
    ]  # fmt: skip
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["d14", "d20"]
    assert sorted(text.get_text() for text in figure.axes[1].texts) == ["d14", "d20", "d8"]


def test_forests_draw_thick_and_thin_and_hold_endless_intervals(study, tmp_path):
    _, findings = study
    (contrast,) = findings.contrasts
    endless = Interval(0.1, -math.inf, math.inf)
    lost = contrast._replace(population=endless, fixed=endless)
    figure = contrast_figure([("one", contrast), ("two", lost)], 0.005)
    axes = figure.axes[0]
    widths = {line.get_linewidth() for line in axes.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] > -0.5}
    assert {3.2, 1.2} <= widths
    assert [text.get_text().split("\n")[0] for text in axes.get_yticklabels()] == ["one", "two"]
    assert all(map(math.isfinite, axes.get_xlim()))
    write_figure(figure, tmp_path, "forest")


def test_a_forest_of_classes_keeps_the_twenty_clearest_and_any_name(tmp_path):
    names = ["$a_b$", "猫", "a class of a very long name", *(f"class {number}" for number in range(44))]
    classes = tuple(
        ClassFinding(name, 10, Interval(0.01 * n, 0.01 * n - 0.1, 0.01 * n + 0.1), n / 50, 0.01 if n < 2 else 0.9)
        for n, name in enumerate(names)
    )
    figure = class_figure(classes)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == 20
    assert {"$a_b$", "猫", "a class of a very…"} <= set(labels)
    assert len(set(styles(figure.axes[0]))) == 2
    write_figure(figure, tmp_path, "classes")


def test_depths_lie_on_a_log_scale_where_there_is_room():
    assert DepthAxis([8, 16, 32]).at([8, 16, 32]) == pytest.approx([0, 0.5, 1])
    assert DepthAxis([8, 9, 10, 110]).at([8, 9, 10, 110]) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert DepthAxis([8]).at(8) == 0


def test_labels_of_many_depths_leave_each_other_room(tmp_path):
    depths = (8, 10, 12, 14, 16, 20, 26, 32, 44, 56)
    findings = analyse(planted_study(tmp_path, valley(), arms=family_arms((60_000,), depths), seeds=2))
    (axes,) = error_figure(findings, ["60,000 parameters"]).axes
    labels = [label.get_text().split("\n")[0] for label in axes.get_xticklabels()]
    assert labels == ["8", "", "12", "", "16", "", "26", "", "44", ""]


def test_limits_show_all_points_and_let_endless_bars_run_out():
    low, high = limits([1.0, 2.0], [0.9, 2.1])
    assert low < 0.9 < 2.1 < high
    low, high = limits([1.0, 2.0], [-50.0, 50.0])
    assert low > -1
    assert high < 4
    low, high = limits([0.0], [])
    assert low < 0 < high


def test_no_figure_of_tuning_or_training_cuts_a_point(tmp_path):
    """Trials of very different errors, some all wrong, and training errors of zero."""
    wild = planted_study(
        tmp_path, {8: (0.3, 0.4), 14: (0.0, 0.0), 20: (0.9, 0.8)}, tuning=TEN_SETTINGS, diverged={(20, 1)}
    )
    findings = analyse(wild)
    for figure in (
        sensitivity_figure(wild, findings.arms), expected_figure(findings, wild.plan.budgets),
        fitting_figure(findings, wild.plan.budgets), learning_figure(wild, findings.arms),
    ):  # fmt: skip
        for axes in shown(figure):
            low, high = axes.get_ylim()
            for line in axes.lines:
                if line.get_transform() == axes.transData:
                    values = np.asarray(line.get_ydata(orig=False), float)
                    inside = (values[np.isfinite(values)] > low) & (values[np.isfinite(values)] < high)
                    assert inside.all() or not line.get_clip_on(), (axes.get_title(loc="left"), line.get_label())


@pytest.mark.parametrize(("low", "high"), [(0.33, 88), (0.9, 1.6), (12.1, 13.4), (0.001, 900), (1, 2.5), (14, 240)])
def test_log_axes_have_four_labels_or_more(low, high):
    axes = Figure().add_subplot()
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    label_log(axes.yaxis)
    labels = axes.yaxis.get_major_formatter().format_ticks(axes.yaxis.get_majorticklocs())
    assert 4 <= len(labels) == len(set(labels)) <= 9


def test_an_interval_beyond_the_panel_ends_in_an_arrow():
    axes = Figure().add_subplot()
    axes.set_xlim(-2, 2)
    draw_interval(axes, 0, -1, 1, color="black")
    assert len(axes.lines) == 1
    draw_interval(axes, 1, -5, 1, color="black")
    assert [(line.get_marker(), *line.get_xdata()) for line in axes.lines[2:]] == [("<", -2)]


def test_many_panels_go_to_several_figures():
    groups = [(each.name, list(each.drawing)) for each in pictures("a", range(17), lambda group: group, "")]
    assert groups == [("a", [*range(8)]), ("a_2", [*range(8, 16)]), ("a_3", [16])]


def test_files_are_the_same_every_time_and_settings_are_left_alone(study, tmp_path):
    result, findings = study
    before = dict(mpl.rcParams)
    texts = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        write_figure(error_figure(findings, result.plan.budgets), folder, "one")
        write_figure(pareto_figure(findings, result.plan.arms, result.plan.budgets), folder, "two")
        texts.append([(folder / f"{part}.{end}").read_bytes() for part in ("one", "two") for end in ("svg", "png")])
    assert texts[0] == texts[1]
    assert b"<dc:date>" not in texts[0][0]
    assert dict(mpl.rcParams) == before


def test_figures_are_narrow_enough_for_a_phone(tuned):
    result, findings = tuned
    for figure in (error_figure(findings, result.plan.budgets), ledger_figure(findings, findings.contrasts)):
        assert figure.get_size_inches()[0] <= 6.4


def test_a_figure_whose_drawing_fails_leaves_the_old_one(study, tmp_path, monkeypatch):
    """Another process may read or write the same figure at any moment."""
    result, findings = study
    old = write_figure(error_figure(findings, result.plan.budgets), tmp_path, "errors")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    figure = error_figure(findings, result.plan.budgets)

    def half(file, **options):
        Path(file).write_bytes(b"<sv")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="No space left"):
        write_figure(figure, tmp_path, "errors")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert before[tmp_path / "errors.svg"].decode() == old
