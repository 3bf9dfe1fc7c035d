"""The network of a run as a file for other programs, compared with the run before it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from flax.traverse_util import unflatten_dict

from jaxcnn.data import Dataset, Split, normalize
from jaxcnn.errors import InputError, missing_extra, require
from jaxcnn.export.program import trace
from jaxcnn.export.stablehlo import run_stablehlo, to_stablehlo
from jaxcnn.interop.published import published
from jaxcnn.nn.calls import infer
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.predict import described, load_model, run_data, run_split
from jaxcnn.runtime.environment import version_of
from jaxcnn.runtime.files import atomic_write, write_json
from jaxcnn.spec import RunConfig
from jaxcnn.tasks import make_task, resolve_task

FORMATS = {"stablehlo": ".stablehlo", "onnx": ".onnx", "litert": ".tflite"}
"""Formats, and the suffixes of their files."""
LITERT = "pip install --no-deps litert-converter==0.5.0 ai-edge-litert==2.3.0"
"""Installs what writes LiteRT files; with its dependencies the converter would replace packages that jaxcnn needs."""
COMPARED, CALIBRATED, BATCH = 32, 256, 64
"""Images that a file is compared on, calibrated on, and measured with at once."""
TOLERANCE, INT8_TOLERANCE = 1e-5, 0.2
"""Largest difference of a float32 file, as a share of the largest output, and of an int8 file (see `Exported`)."""
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


class Exported(NamedTuple):
    """An exported file.

    Args:
        path: The file.
        size: Its bytes.
        difference: float32: largest difference from the run's outputs over the largest of them. int8: root mean square
            of the difference over the standard deviation of the outputs.
        compared: Number of images that it was compared on, in batches of 1 and of all others.
        metrics: int8: metrics of the test split by the file.
        float_metrics: int8: the same by the run in float32.
    """

    path: Path
    size: int
    difference: float
    compared: int
    metrics: dict[str, float]
    float_metrics: dict[str, float]


def export_run(
    directory: Path | str,
    *,
    to: str = "onnx",
    int8: bool = False,
    preprocess: bool = False,
    checkpoint: str = "last",
    out: Path | str | None = None,
    model: linen.Module | None = None,
    data: str | None = None,
    data_dir: str | None = None,
) -> Exported:
    """Write the network of a run to a file; one that disagrees with the run on images of its data is not written.

    The file computes the network's outputs in inference, in float32, for any number of images: logits, or what the head
    of a detector gives. What the task makes of them, and the mean over mirrored images, are left to the reader.

    Args:
        directory: The run's folder.
        to: stablehlo, onnx or litert (TensorFlow Lite; its packages are installed by hand: docs/howto/export.md).
        int8: Compute in 8 bits; onnx only. Ranges come from training images.
        preprocess: Take images as uint8 (N, H, W, C), pixels 0 to 255, and normalise them in the file. Default:
            float32, normalised by the caller.
        checkpoint: last, or best (lowest validation loss).
        out: The file. Default: network.onnx, network_int8.onnx, network.stablehlo or network.tflite in the run's
            folder.
        model: The module, where the run trained a user-defined one.
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if it has moved.

    Raises:
        InputError: No such run, an operation that the format does not have, a missing package, data that have changed,
            or a file that disagrees.

    >>> export_run("runs/first", to="onnx", preprocess=True).difference  # doctest: +SKIP
    4.1e-07
    """
    require(to in FORMATS, "to", repr(to), f"choose {' or '.join(FORMATS)}")
    require(not int8 or to == "onnx", "int8", int8, "only onnx and web files are quantised; add --to onnx")
    folder = RunFolder(Path(directory))
    network, variables = load_model(directory, checkpoint=checkpoint, model=model)
    names, shape, mean, std = described(folder)
    config = folder.read_config()[0]
    path = Path(out) if out is not None else folder.path / f"network{'_int8' if int8 else ''}{FORMATS[to]}"
    about_file = path.with_suffix(".json")
    for holds, remedy in (
        (not path.is_dir(), "it is a folder; name a file"),
        (path.suffix == FORMATS[to], f"the file's name must end in {FORMATS[to]}, so that no other file is replaced"),
        (
            to == "onnx" or path.exists() or not about_file.exists(),
            f"it would replace {about_file.name}; choose another name",
        ),
    ):
        require(holds, "out", repr(str(path)), remedy)

    def compute(images: Any) -> Any:
        return infer(network, variables, normalize(images, mean, std) if preprocess else images)

    program = trace(compute, (shape[0], shape[1], shape[2]), np.uint8 if preprocess else np.float32)
    about = _metadata(config, names, mean, std, preprocess=preprocess)
    dataset = run_data(folder, config, data=data, data_dir=data_dir)

    def inputs(pixels: Any) -> np.ndarray:
        pixels = np.asarray(pixels)
        return pixels if preprocess else np.asarray(normalize(pixels, mean, std))

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with jax.default_matmul_precision("highest"):
            outputs = jax.device_get(forward(images))
        return {name: np.asarray(value) for name, value in zip(program.outputs, jax.tree.leaves(outputs), strict=True)}

    forward = jax.jit(compute)
    images, metrics = inputs(_spread(run_split(folder, dataset, "test")["images"], COMPARED)), ({}, {})
    if to == "stablehlo":
        content = to_stablehlo(program)
        difference = _check(path, lambda images: run_stablehlo(content, images), run, images)
    elif to == "litert":
        try:
            from jaxcnn.export.litert import run_litert, to_litert
        except ImportError as error:
            raise InputError(f"to={to!r}: {error.name} is not installed; run {LITERT}") from error
        content = to_litert(program)
        difference = _check(path, lambda images: run_litert(content, images), run, images)
    else:
        try:
            from jaxcnn.export.onnx import run_onnx, to_onnx
        except ImportError as error:
            raise missing_extra(f"to={to!r}", str(error.name), "export") from error
        made = to_onnx(program, about)
        content = made.SerializeToString()
        difference = _check(path, lambda images: run_onnx(content, images), run, images)
        if int8:
            from jaxcnn.export.int8 import to_int8

            content = to_int8(made, inputs(_spread(dataset.train["images"], CALIBRATED)), about).SerializeToString()
            quantised: Run = lambda images: run_onnx(content, images)  # noqa: E731
            difference = _check(path, quantised, run, images, int8=True)
            split = run_split(folder, dataset, "test")
            metrics = tuple(_measure(each, config, dataset, split, inputs) for each in (quantised, run))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_bytes(content)
    if to != "onnx":
        write_json(about_file, {name: json.loads(text) for name, text in about.items()})
    return Exported(path, len(content), difference, len(images), *metrics)


def open_file(path: Path | str, *, threads: int = 1) -> Run:
    """Return the function of images that an ONNX or LiteRT file is; it returns outputs by name.

    Args:
        path: A file that `export_run` wrote.
        threads: Number of threads on the CPU. 0: onnxruntime's default; LiteRT has none.

    >>> open_file("runs/first/network.onnx")(images)["output"]  # doctest: +SKIP
    """
    content = Path(path).read_bytes()
    if Path(path).suffix == FORMATS["litert"]:
        from jaxcnn.export.litert import open_litert

        runner = open_litert(content, threads=threads)
        return lambda images: runner(images=images)
    from jaxcnn.export.onnx import open_session

    session: Any = open_session(content, threads=threads)
    names = [each.name for each in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {"images": images}), strict=True))


def _spread(images: Any, count: int) -> Any:
    """Return at most so many images of a split, which may be stored class by class."""
    return images[:: max(1, -(-len(images) // count))]


def _metadata(
    config: RunConfig, names: list[str], mean: np.ndarray, std: np.ndarray, *, preprocess: bool
) -> dict[str, str]:
    """Return what a reader of the file needs beside it, each as JSON."""
    source = published(config.weights) if config.weights else None
    pixels = "uint8, 0 to 255" if preprocess else "float32, (pixel / 255 - mean) / std"
    about = {
        "task": config.task.kind,
        "classes": names,
        "images": f"(batch, height, width, channels), {pixels}",
        "mean": [float(each) for each in mean],
        "std": [float(each) for each in std],
        "fit": config.data.fit,
        "weights": config.weights and (config.weights if source else Path(config.weights).name),
        "licence": source.licence if source else None,  # of the weights that the run began with, where it is known
        "jaxcnn": version_of("jaxcnn"),
    }
    return {name: json.dumps(value) for name, value in about.items()}


def _check(path: Path, file: Run, run: Run, images: np.ndarray, *, int8: bool = False) -> float:
    """Return how much the file's outputs differ from the run's, or refuse it."""
    worst = 0.0
    for batch in (images[:1], images[1:]):
        if len(batch) == 0:
            continue
        found = file(batch)
        for name, expected in run(batch).items():
            if found[name].shape != expected.shape:
                worst = float("inf")
                continue
            gap = np.asarray(found[name] - expected, np.float64)
            by = (expected.std(), np.sqrt(np.mean(gap**2))) if int8 else (np.abs(expected).max(), np.abs(gap).max())
            difference = float(by[1] / max(by[0], np.finfo(np.float32).tiny)) if by[1] else 0.0
            worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    most = INT8_TOLERANCE if int8 else TOLERANCE
    if worst > most:
        raise InputError(
            f"{str(path)!r}: not written, its outputs differ from those of the run by {worst:.2g} (at most {most:g}); "
            + ("train longer, or export float32" if int8 else "please report this network")
        )
    return worst


def _measure(
    run: Run, config: RunConfig, dataset: Dataset, split: Split, inputs: Callable[[Any], np.ndarray]
) -> dict[str, float]:
    """Return the metrics of a split by a file or by the run."""
    task, sums = make_task(resolve_task(config.task, dataset.train, dataset.class_names)), dict[str, float]()
    add = jax.jit(task.sums)
    for start in range(0, len(split["images"]), BATCH):
        part: dict[str, Any] = {name: np.asarray(split[name][start : start + BATCH]) for name in split}
        found = run(inputs(part["images"]))
        outputs = found["output"] if set(found) == {"output"} else unflatten_dict(found, sep="/")
        batch = {name: jnp.asarray(part[name]) for name in task.targets}
        batch["mask"] = jnp.ones(len(part["images"]), jnp.float32)
        for name, value in jax.device_get(add(outputs, batch)).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return task.metrics(sums)
