import matplotlib as mpl
import numpy as np
import pytest

from jaxcnn.study.figures import curves_figure, error_figure, write_figure
from tests.study.planted import planted_study

ERRORS = {8: (0.03, 0.025, 0.028), 14: (0.02, 0.022, 0.019), 20: (0.015, 0.012, 0.017)}


@pytest.fixture
def result(tmp_path):
    return planted_study(tmp_path, ERRORS)


def test_the_error_figure_shows_means_seeds_and_widths(result):
    axes = error_figure(result).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8\nwidth 10", "14\nwidth 7", "20\nwidth 5"]
    mean = next(line for line in axes.lines if line.get_marker() == "s")
    np.testing.assert_allclose(mean.get_ydata(orig=False), [100 * np.mean(ERRORS[depth]) for depth in (8, 14, 20)])
    seeds = [line.get_ydata(orig=False) for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(seeds, [[100 * error for error in ERRORS[depth]] for depth in (8, 14, 20)])


def test_curves_have_a_panel_an_arm_and_differ_without_colour(result):
    figure = curves_figure(result)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [
        "depth 8, width 10",
        "depth 14, width 7",
        "depth 20, width 5",
    ]
    thick = [line for line in shown[0].lines if line.get_label() in ("training", "validation")]
    assert len({(line.get_linestyle(), line.get_marker()) for line in thick}) == 2


def test_files_are_the_same_every_time_and_settings_are_left_alone(result, tmp_path):
    before = dict(mpl.rcParams)
    texts = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        write_figure(error_figure(result), folder, "one")
        write_figure(curves_figure(result), folder, "two")
        texts.append([(folder / f"{part}.{end}").read_bytes() for part in ("one", "two") for end in ("svg", "png")])
    assert texts[0] == texts[1]
    assert b"<dc:date>" not in texts[0][0]
    assert dict(mpl.rcParams) == before


def test_one_seed_draws(tmp_path):
    write_figure(error_figure(planted_study(tmp_path / "s", {8: (0.1,), 20: (0.2,)})), tmp_path, "one")
