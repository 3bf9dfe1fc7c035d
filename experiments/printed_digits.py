"""Reading pages of printed digits, photographed: characters are found one by one, and a classifier names each.

The classifier learns from characters of other pages in other fonts: no font of the test pages is among them.
Runtime: not measured yet.
Expected: not measured yet.
"""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxcnn.cli import launch
from jaxcnn.data.characters import cut_characters
from jaxcnn.data.sources.glyphs import FONTS
from jaxcnn.data.sources.pages import LOOKS, draw_page
from jaxcnn.models import named
from jaxcnn.ops import edit_distance
from jaxcnn.run import run
from jaxcnn.run.read import read_pages
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    unseen: str = "DejaVuSerif"  # fonts of test pages begin with this
    train_pages: int = 20  # of each look
    test_pages: int = 6
    epochs: int = 6
    out: Path = Path("runs/printed_digits")


SMOKE = Config(train_pages=2, test_pages=1, epochs=1)


def main(config: Config) -> None:
    rng = np.random.default_rng(0)
    seen, unseen = ([font for font in FONTS if font.startswith(config.unseen) == new] for new in (False, True))
    drawn = [draw_page(rng, seen, look) for look in LOOKS.values() for _ in range(config.train_pages)]
    pairs = [pair for page, texts in drawn for pair in zip(cut_characters(page), texts, strict=False)]
    pairs = [(line.images, text) for line, text in pairs if len(line.images) == len(text)]
    config.out.mkdir(parents=True, exist_ok=True)
    images, texts = zip(*pairs, strict=True)
    np.savez(config.out / "characters.npz", images=np.concatenate(images), labels=[*map(int, "".join(texts))])
    data, optimizer = (
        DataConfig(str(config.out / "characters.npz"), augment=("affine",)),
        OptimizerConfig(learning_rate=0.02),
    )
    run(RunConfig(named("lenet5"), data, optimizer, epochs=config.epochs), out=config.out / "classifier")
    for name, look in LOOKS.items():
        drawn = [draw_page(rng, unseen, look) for _ in range(config.test_pages)]
        read = [page["text"] for page in read_pages(config.out / "classifier", [page for page, _ in drawn])]
        true = [text for _, texts in drawn for text in texts]
        codes = [jnp.array([[*map(ord, "\n".join(texts))]], jnp.int32) for texts in (read, true)]
        wrong, count = int(edit_distance(*codes)[0]), sum(map(len, true))  # a wrong line break is a mistake, too
        print(f"{name}: {1 - wrong / count:.2%} of {count:,} digits are right")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
