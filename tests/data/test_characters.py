"""Pages of printed digits: every character is found once, in reading order, whatever the light and the camera."""

import numpy as np
import pytest

from jaxcnn.data.characters import cut_characters
from jaxcnn.data.sources.glyphs import FONTS
from jaxcnn.data.sources.pages import LOOKS, draw_page
from jaxcnn.errors import InputError

FEW = FONTS[:1] + FONTS[8:9]


@pytest.mark.parametrize("look", LOOKS)
def test_every_character_is_found_in_its_line(look):
    page, lines = draw_page(np.random.default_rng(1), FEW, LOOKS[look])
    found = cut_characters(page)
    assert len(found) == len(lines)
    wrong = sum(abs(len(line.boxes) - len(text)) for line, text in zip(found, lines, strict=True))
    assert wrong <= {"mild": 0, "strong": 0.03}[look] * len("".join(lines))
    for line in found:
        assert (np.diff(line.boxes[:, 1]) > 0).all()
        assert line.images.shape == (len(line.boxes), 28, 28, 1)
        assert (line.images.max(axis=(1, 2, 3)) > 128).all()
        assert line.images[:, :4].max() == line.images[:, 24:].max() == 0  # MNIST's margin


def test_light_on_dark_is_the_same():
    page, _ = draw_page(np.random.default_rng(2), FEW, LOOKS["mild"]._replace(shadow=0.0))
    dark, light = cut_characters(page), cut_characters(255 - page)
    assert [len(line.boxes) for line in dark] == [len(line.boxes) for line in light]
    assert max(np.abs(a.boxes - b.boxes).max() for a, b in zip(dark, light, strict=True)) <= 1


def test_characters_that_touch_are_divided():
    page = np.full((90, 200, 1), 230, np.uint8)
    page[30:50, 40:52] = page[30:50, 70:82] = page[30:50, 54:66] = 20
    page[38:40, 40:82] = 20  # a bridge
    (line,) = cut_characters(page)
    assert len(line.boxes) == 3
    np.testing.assert_allclose(line.boxes[:, 1], [40, 53, 68], atol=2.5)


def test_an_empty_page_is_refused():
    with pytest.raises(InputError, match="no text on it"):
        cut_characters(np.full((90, 200, 1), 230, np.uint8))


def test_perspective_and_shadow_change_what_they_are_named_for():
    flat = LOOKS["mild"]._replace(tilt=0.0, shadow=0.0, blur=0.0, noise=0.0)
    plain, lines = draw_page(np.random.default_rng(3), FEW, flat)
    shaded, same = draw_page(np.random.default_rng(3), FEW, flat._replace(shadow=0.6))
    assert lines == same
    assert plain.max() == 235
    assert 0.35 < (shaded / np.maximum(plain.astype(float), 1)).min() < 0.45
