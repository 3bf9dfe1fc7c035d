"""Small pictures: their colours, sheets and rows; figures that follow the page's colours."""

import numpy as np
import pytest

from jaxcnn.pictures.confusion import confusion_figure
from jaxcnn.pictures.curves import curve_figure, seed_curves
from jaxcnn.pictures.document import Figure, to_html
from jaxcnn.pictures.gallery import Row, gallery, spread
from jaxcnn.pictures.landscape import landscape_figure
from jaxcnn.pictures.similarity import Similarity, similarity_figure
from jaxcnn.pictures.style import to_pixels, to_svg
from jaxcnn.pictures.tiles import draw_box, kernel_images, map_image, overlay, signed_image, tile

GREY = np.full((4, 6, 1), 100, np.uint8)


def test_colours_of_maps_can_be_told_apart_in_grey():
    ramp = map_image(np.linspace(0, 1, 20)[None])[0] @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(ramp) > 0).all()
    assert (map_image(np.full((2, 2), 3.0)) == map_image(np.zeros((2, 2)))).all()
    signed = signed_image([[-2.0, 0.0, 2.0]]).astype(int)
    assert (signed[0, 1] > 240).all()
    assert np.abs(signed[0, 0] - signed[0, 2]).sum() > 100


def test_a_sheet_holds_its_pictures_in_order():
    pictures = [np.full((2, 3, 3), 40 * n, np.uint8) for n in range(5)]
    sheet = tile(pictures, columns=2, scale=2)
    assert sheet.shape == ((3 * 3 - 1) * 2, (2 * 4 - 1) * 2, 3)
    assert (sheet[0, 0], sheet[0, 8], sheet[6, 0])[1].tolist() == [40] * 3
    assert (sheet[4, :] == 255).all()


def test_kernels_of_colour_images_are_in_colour_and_others_signed():
    assert len(kernel_images(np.ones((3, 3, 3, 5)))) == 5
    assert len(kernel_images(np.ones((3, 3, 4, 5)))) == 20
    assert len(kernel_images(np.zeros((3, 3, 64, 64)))) == 32 * 8
    assert kernel_images(np.full((1, 1, 3, 1), 1.0))[0].tolist() == [[[255, 255, 255]]]


def test_a_box_is_outlined_as_far_as_it_lies_inside():
    drawn = draw_box(GREY, (-2, 1, 3, 9))
    orange = (drawn == (230, 159, 0)).all(axis=-1)
    assert orange[:3, 1].all()
    assert orange[2, 1:].all()
    assert orange.sum() == 3 + 4
    assert overlay(GREY, np.zeros((4, 6))).shape == (4, 6, 3)


def test_rows_of_pictures_keep_their_pixels_and_words():
    figure = gallery([Row([GREY] * 9, "title", [f"n{k}" for k in range(9)]), Row([GREY])], columns=4)
    axes = figure.axes[0]
    assert len(axes.images) == 10
    assert [text.get_text() for text in axes.texts] == ["title", *(f"n{k}" for k in range(9))]
    assert to_svg(figure).count("data:image/png") == 10
    assert to_svg(figure) == to_svg(figure)


@pytest.mark.parametrize(("count", "most", "chosen"), [(3, 8, [0, 1, 2]), (10, 2, [0, 9]), (1, 4, [0])])
def test_indices_are_evenly_spread(count, most, chosen):
    assert spread(count, most) == chosen


def test_a_page_replaces_ink_paper_and_grid_by_its_own():
    counts = np.array([[9, 1], [0, 10]])
    svg = to_svg(confusion_figure(counts, ["a", "b"]))
    page = to_html("T", [Figure("", svg, "c")])
    assert "#000000" in svg
    assert "#000000" not in page[page.index("<svg") :]
    assert "currentColor" in page
    assert "#fefefe" in page  # a number on a dark cell stays light
    hatched = to_html("T", [Figure("", '<svg><rect width="9" fill="#f3f3f3"/></svg>', "c")])
    assert '<rect width="9" style="fill: var(--soft)"/>' in hatched
    assert len(confusion_figure(np.eye(40, dtype=int), [str(k) for k in range(40)]).axes[0].texts) == 0


def test_curves_of_several_runs_are_named():
    records = [{"epoch": n, "train_loss": 1 / n, "validation_loss": 2 / n, "learning_rate": 0.1} for n in (1, 2)]
    one, two = curve_figure({"": records}), curve_figure({"a": records, "b": records})
    assert [line.get_label() for line in one.axes[0].lines] == ["training", "validation"]
    assert [line.get_label() for line in two.axes[0].lines] == [
        "a training",
        "a validation",
        "b training",
        "b validation",
    ]
    assert len(one.axes) == 1
    assert to_pixels(one).shape[2] == 3


def test_every_seed_has_its_curves_in_the_panel_of_its_setting():
    def records(error):
        return [{"epoch": n, "train_loss": error / n, "validation_loss": 2 * error / n} for n in (1, 2)]

    figure = seed_curves({"a": [records(1), records(3)], "b": [records(2)]}, "loss")
    drawn = [[line.get_ydata().tolist() for line in axes.lines] for axes in figure.axes]
    assert drawn == [[[1, 0.5], [3, 1.5], [2, 1], [6, 3]], [[2, 1], [4, 2]]]
    assert [line.get_label() for line in figure.axes[1].lines] == ["training", "validation"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["training", "validation"]


def test_a_landscape_shows_both_cuts_and_what_is_not_finite_stays_empty():
    steps = np.linspace(-1, 1, 5)
    losses = 1 + steps[:, None] ** 2 + 4 * steps[None, :] ** 2
    losses[0, 0] = np.inf
    figure = landscape_figure(losses, steps)
    cuts = [line.get_ydata() for line in figure.axes[0].lines]
    np.testing.assert_allclose(cuts, [1 + steps**2, 1 + 4 * steps**2])
    assert "<svg" in to_svg(figure)


def test_similarities_have_one_scale_and_names_where_they_have_room():
    figure = similarity_figure(
        {
            "a": Similarity([[0.1, np.nan]], "one", "two", ["x"], ["y", "z"]),
            "b": Similarity(np.eye(30), "one", "two", [str(n) for n in range(30)], [str(n) for n in range(30)]),
        }
    )
    images = [axes.images[0] for axes in figure.axes[:2]]
    assert [image.get_clim() for image in images] == [(0, 1), (0, 1)]
    assert [len(axes.get_xticks()) for axes in figure.axes[:2]] == [2, 0]
