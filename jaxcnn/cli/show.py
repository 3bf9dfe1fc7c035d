"""`jaxcnn show`: what a run's network sees, its layers' similarity or its loss landscape, as one PNG or SVG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from jaxcnn.errors import InputError, require

if TYPE_CHECKING:
    from jaxcnn.data import Split


def show(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    what: Annotated[
        Positional[Literal["features", "kernels", "saliency", "receptive-field", "landscape", "cka", "augmentation"]],
        arg(metavar="WHAT"),
    ],
    image: Path | None = None,
    split: Literal["train", "validation", "test"] = "test",
    index: tuple[int, ...] = (0,),
    layer: str | None = None,
    other: Path | None = None,
    checkpoint: Literal["last", "best"] = "last",
    data: str | None = None,
    data_dir: str | None = None,
    out: Path | None = None,
) -> None:
    """Draw what the network of a run sees, how similar its layers are, or its loss around the trained weights.

    Args:
        run: Folder of the run.
        what: features (outputs of convolutions), kernels, saliency (five kinds of attribution), receptive-field,
            landscape (loss over two random directions), cka (similarity of all layers), augmentation (images as
            training changed them).
        image: Image file. Default: an image of a split.
        split: Split that `index` counts in; landscape and cka use 512 images of it.
        index: Images of the split, from 0; saliency and augmentation take several, the others the first.
        layer: Path of a convolution, for features and kernels. Default: several layers; kernels of the first.
        other: Folder of another run whose layers cka compares with. Default: the run itself.
        checkpoint: last, or best (lowest validation loss).
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.
        out: File, .png or .svg; one that exists is replaced. Default: WHAT.png in the run's folder.
    """
    from jaxcnn.pictures.style import to_svg, write_png
    from jaxcnn.run import show as figures
    from jaxcnn.run.folder import RunFolder
    from jaxcnn.run.predict import run_data, run_split
    from jaxcnn.runtime.files import make_folder, write_text

    path = run / f"{what}.png" if out is None else out
    require(path.suffix in (".png", ".svg"), "out", repr(str(path)), "must end in .png or .svg")
    require(
        layer is None or what in ("features", "kernels"), "layer", repr(layer), f"{what} has no layer; leave it out"
    )
    unused, why = (), ""
    if what == "kernels":
        unused, why = ("image", "split", "index", "data", "data-dir"), "kernels are of no image"
    elif what in ("landscape", "cka"):
        unused, why = ("image", "index"), f"{what} is of a whole split"
    elif image is not None:
        unused, why = ("split", "index", "data", "data-dir"), "--image takes its place"
        require(
            not (path.exists() and image.exists() and path.samefile(image)), "out", repr(str(path)), "it is --image"
        )
    given = {"image": image, "data": data, "data-dir": data_dir, "split": split, "index": " ".join(map(str, index))}
    for name in unused:
        if given[name] not in (None, "test", "0"):
            raise InputError(f"--{name} {given[name]}: {why}; leave it out")
    require(other is None or what == "cka", "other", repr(str(other)), "it is for cka; leave it out")
    inside = figures.look_inside(run, checkpoint=checkpoint)

    def arrays() -> Split:
        folder = RunFolder(run)
        return run_split(folder, run_data(folder, folder.read_config()[0], data=data, data_dir=data_dir), split)

    if what == "kernels":
        drawn = figures.draw_kernels(inside, layer=layer)
    elif what == "landscape":
        drawn = figures.draw_landscape(inside, arrays())
    elif what == "cka":
        second = None if other is None else figures.look_inside(other, checkpoint=checkpoint)
        drawn = figures.draw_cka(inside, arrays(), second)
    else:
        if image is not None:
            images = [figures.read_image(inside, image)]
        else:
            among = arrays()["images"]
            for n in index:
                require(0 <= n < len(among), "index", n, f"{split} has {len(among)} images, counted from 0")
            images = [among[n] for n in index]
        if not images:
            raise InputError("--index: give at least one number, such as 0")
        if what == "saliency":
            drawn = figures.draw_attribution(inside, images)
        elif what == "augmentation":
            drawn = figures.draw_augmented(images, RunFolder(run).read_config()[0].data.augment)
        elif what == "features":
            drawn = figures.draw_features(inside, images[0], layer=layer)
        else:
            drawn = figures.draw_receptive_fields(inside, images[0])
    make_folder(path.parent)
    if path.suffix == ".png":
        write_png(drawn, path)
    else:
        write_text(path, to_svg(drawn))
    print(f"written to {path}")
