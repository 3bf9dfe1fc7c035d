"""Photographed lines: ink of either polarity, under shadows and tilts, becomes a straight line of one height."""

from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.photo import otsu_threshold, straighten_line
from jaxcnn.errors import InputError

LINE = np.zeros((32, 256, 1), np.uint8)
for left in range(10, 200, 20):  # ten characters
    LINE[7:25, left : left + 10] = 255


def photograph(angle=0.0, dark=True, shadow=0.0, noise=0.0):
    """The line on a larger page, tilted, with a shadow over its right and noise."""
    page: Image.Image = Image.new("L", (640, 300))
    page.paste(Image.fromarray(LINE[..., 0]).resize((512, 64)), (64, 118))
    ink = np.asarray(page.rotate(angle, Image.Resampling.BILINEAR), np.float32) / 255
    values = 210 - 160 * ink if dark else 40 + 160 * ink
    values = values * (1 - shadow * np.linspace(0, 1, 640)[None])
    values = values + noise * np.random.default_rng(0).normal(size=values.shape)
    return values.clip(0, 255).astype(np.uint8)[..., None]


@pytest.mark.parametrize(
    "how",
    [{}, {"dark": False}, {"angle": 6.0}, {"angle": -9.0, "shadow": 0.5}, {"shadow": 0.6, "noise": 6.0}],
    ids=str,
)
def test_the_line_is_found(how):
    line = straighten_line(photograph(**how), (32, 256))
    assert line.shape == (32, 256, 1)
    rows, columns = (np.flatnonzero((line[..., 0] > 128).any(axis=axis)) for axis in (1, 0))
    assert rows[-1] - rows[0] + 1 == pytest.approx(19, abs=3)  # INK_HEIGHT, unless the line is too long
    ink = (LINE[..., 0] > 128).any(axis=0)
    ends = np.flatnonzero(ink)
    length = (ends[-1] - ends[0] + 1) / (np.ptp(np.flatnonzero((LINE[..., 0] > 128).any(axis=1))) + 1)
    assert (columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1) == pytest.approx(length, rel=0.2)
    seen = (line[..., 0] > 128).any(axis=0).astype(int)
    assert (np.diff(seen) == 1).sum() == (np.diff(ink.astype(int)) == 1).sum()  # as many squares


def test_a_page_without_text_is_refused():
    noise = 200 + np.random.default_rng(0).normal(0, 2, (50, 200, 1))
    for page in (np.full((50, 200, 1), 200, np.uint8), noise.astype(np.uint8)):
        with pytest.raises(InputError, match="no text on it"):
            straighten_line(page, (32, 256))


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (9, 20_000)])
def test_an_image_of_a_thousandth_of_the_width_has_no_text(shape):
    page = np.full((*shape, 1), 220, np.uint8)
    page[:, : shape[1] // 3] = 20
    with suppress(InputError):  # there is no text on it
        assert straighten_line(page, (32, 256)).shape == (32, 256, 1)


def test_otsu_maximises_the_variance_between_two_groups():
    values = np.concatenate([np.random.default_rng(0).normal(m, 1, 500) for m in (0, 8)])

    def between(threshold):
        low = values < threshold
        return low.mean() * (1 - low.mean()) * (values[low].mean() - values[~low].mean()) ** 2

    best = max(np.linspace(values.min() + 0.1, values.max() - 0.1, 500), key=between)
    assert between(otsu_threshold(values)) == pytest.approx(between(best), rel=1e-3)
