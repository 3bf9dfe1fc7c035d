"""`jaxcnn show`: kernels, feature maps, attribution or receptive fields of a run's network, as one PNG or SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxcnn.errors import InputError, require


def show(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    what: Annotated[Positional[Literal["features", "kernels", "saliency", "receptive-field"]], arg(metavar="WHAT")],
    image: Path | None = None,
    split: Literal["train", "validation", "test"] = "test",
    index: tuple[int, ...] = (0,),
    layer: str | None = None,
    checkpoint: Literal["last", "best"] = "last",
    data: str | None = None,
    data_dir: str | None = None,
    out: Path | None = None,
) -> None:
    """Draw what the network of a run sees: features, kernels, saliency or receptive-field.

    Args:
        run: Folder of the run.
        what: features (outputs of convolutions), kernels, saliency (five kinds of attribution), receptive-field.
        image: Image file. Default: an image of a split.
        split: Split that `index` counts in.
        index: Images of the split, from 0; saliency takes several, the others the first.
        layer: Path of a convolution, for features and kernels. Default: several layers; kernels of the first.
        checkpoint: last, or best (lowest validation loss).
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.
        out: File, .png or .svg. Default: WHAT.png in the run's folder.
    """
    from jaxcnn.pictures.style import to_svg, write_png
    from jaxcnn.run import show as figures
    from jaxcnn.run.folder import RunFolder
    from jaxcnn.run.predict import run_data, run_split
    from jaxcnn.runtime.files import write_text

    path = run / f"{what}.png" if out is None else out
    require(path.suffix in (".png", ".svg"), "out", repr(str(path)), "must end in .png or .svg")
    require(
        layer is None or what in ("features", "kernels"), "layer", repr(layer), f"{what} has no layer; leave it out"
    )
    inside = figures.look_inside(run, checkpoint=checkpoint)
    if what == "kernels":
        drawn = figures.draw_kernels(inside, layer=layer)
    else:
        if image is not None:
            images = [figures.read_image(inside, image)]
        else:
            folder = RunFolder(run)
            dataset = run_data(folder, folder.read_config()[0], data=data, data_dir=data_dir)
            arrays = run_split(folder, dataset, split)["images"]
            for n in index:
                require(0 <= n < len(arrays), "index", n, f"{split} has {len(arrays)} images, counted from 0")
            images = [arrays[n] for n in index]
        if not images:
            raise InputError("index=(): give at least one")
        if what == "saliency":
            drawn = figures.draw_attribution(inside, images)
        elif what == "features":
            drawn = figures.draw_features(inside, images[0], layer=layer)
        else:
            drawn = figures.draw_receptive_fields(inside, images[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        write_png(drawn, path)
    else:
        write_text(path, to_svg(drawn))
    print(f"written to {path}")
