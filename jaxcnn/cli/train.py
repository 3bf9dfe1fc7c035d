"""`jaxcnn train`, `jaxcnn evaluate`, `jaxcnn predict`: train one model, measure it, use it on images."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxcnn.cli.entry import DIVERGED
from jaxcnn.cli.flags import UNPREFIXED, StartFlags, call_with_flags, ignored_flags, starting_point
from jaxcnn.cli.messages import refuse_ignored
from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError, printable, require
from jaxcnn.spec import RunConfig

if TYPE_CHECKING:
    from jaxcnn.run import RunResult


@dataclass(frozen=True)
class TrainFlags(StartFlags):
    """Train one model.

    `--model NAME` and `--data NAME` set the starting point; every other flag changes one field of it.

    Args:
        config: The run.
        out: Folder of the run; the same command resumes an interrupted run. Default: nothing is saved.
        extend: Train a finished run to more `epochs`, where its learning rates so far stay what they were.
        quiet: Show no progress.
        tensorboard: Also write TensorBoard events (extra `tensorboard`).
        tensorboard_every: Epochs from one histogram of the weights to the next.
        json: Print the result as JSON.
        hosts: Train one run on several processes: auto (detected automatically on SLURM, Open MPI, Kubernetes and TPU
            pods) or ADDRESS:PORT of the first one. Start the same command on each, with a folder that all of them see.
        host_count: With ADDRESS:PORT: number of processes.
        host_index: With ADDRESS:PORT: index of this process, from 0.
        host_timeout: Seconds of silence after which a host counts as dead.
    """

    config: Annotated[RunConfig, UNPREFIXED] = field(default_factory=RunConfig)
    out: Path | None = None
    extend: bool = False
    quiet: bool = False
    tensorboard: bool = False
    tensorboard_every: int = 1
    json: bool = False
    hosts: str | None = None
    host_count: int | None = None
    host_index: int | None = None
    host_timeout: int = 30


def train(arguments: Sequence[str]) -> None:
    """Train one model and print its result."""
    start, rest = starting_point(arguments)
    call_with_flags(lambda flags: _train(flags, rest), TrainFlags(start), rest, "jaxcnn train")


def _train(flags: TrainFlags, arguments: Sequence[str]) -> None:
    folder = ("tensorboard", "keep", "checkpoint-every", "checkpoint-steps", "checkpoint-minutes")
    ignored = dict.fromkeys(folder if flags.out is None else (), "needs --out, the folder to write to")
    ignored |= {} if flags.tensorboard else {"tensorboard-every": "needs --tensorboard"}
    ignored |= {} if flags.hosts else {f"host-{name}": "needs --hosts" for name in ("count", "index", "timeout")}
    refuse_ignored(arguments, ignored | ignored_flags(flags.config))
    _join_hosts(flags)
    from jaxcnn.run import run
    from jaxcnn.train.parallel.hosts import first_host, others_alive

    with others_alive(str(flags.out)):
        result = run(
            flags.config, out=flags.out, extend=flags.extend, progress=not flags.quiet and first_host(),
            tensorboard=flags.tensorboard, tensorboard_every=flags.tensorboard_every,
        )  # fmt: skip
        if not first_host():
            return
    if flags.tensorboard and flags.out is not None and not (flags.out / "tensorboard").exists():
        print("--tensorboard: this run was finished without it; train it again in a new folder", file=sys.stderr)
    if flags.json:
        where, end = result.directory and str(result.directory), result.diverged and result.diverged["step"]
        about = {"directory": where, "epochs": len(result.history), "params": result.params, "macs": result.macs}
        print_json({**about, "diverged": end, **result.metrics, "details": result.details, "seconds": result.seconds})
    else:
        rows = [("parameters", f"{result.params:,}"), ("MACs", f"{result.macs:,}")]
        rows += [(name.replace("_", " "), f"{value:.4f}") for name, value in result.metrics.items()]
        told = {name.replace("_", " "): value for name, value in result.details.items() if isinstance(value, float)}
        rows += [(f"test {name}", f"{value:.4f}") for name, value in told.items()]
        rows += [(f"{name} seconds", f"{value:.4g}") for name, value in result.seconds.items()]
        rows += [("extended after epochs", " ".join(map(str, result.extended)))] if result.extended else []
        print_table(rows)
        print("not kept: give --out FOLDER to keep the model" if flags.out is None else f"written to {flags.out}")
    if result.diverged is not None:
        names = result.diverged["nonfinite"][:3]
        print(
            f"diverged at step {result.diverged['step']}: the loss or gradients are not finite"
            f"{', first those of ' + ', '.join(names) if names else ''}; lower the learning rate, or see that step's "
            "examples and norms in result.json",
            file=sys.stderr,
        )
        sys.exit(DIVERGED)
    if not all(math.isfinite(value) for name, value in result.metrics.items() if name.endswith("_loss")):
        print("diverged after the last step: a loss is not finite; lower the learning rate", file=sys.stderr)
        sys.exit(DIVERGED)
    _warn_of_chance(result)


def _warn_of_chance(result: RunResult) -> None:
    """Say on stderr that nothing was learnt: test accuracy within two standard errors of the largest class's share."""
    confusion = result.details.get("confusion", [])
    counts = [sum(row) for row in confusion]
    if sum(count > 0 for count in counts) < 2:
        return
    share, right = max(counts) / sum(counts), sum(row[i] for i, row in enumerate(confusion)) / sum(counts)
    if right <= share + 2 * (share * (1 - share) / sum(counts)) ** 0.5:
        print(
            f"test accuracy {right:.4f} is no better than chance (the largest class has a share of {share:.4f}): try "
            "another --optimizer.learning-rate or more --epochs, and check the labels (jaxcnn data check)",
            file=sys.stderr,
        )


def _join_hosts(flags: TrainFlags) -> None:
    if flags.hosts is None:
        return
    from jaxcnn.train.parallel.hosts import join_hosts

    if flags.config.parallel in ("jit", "pmap"):
        raise InputError(f"parallel={flags.config.parallel!r}: several hosts share a mesh; leave it at auto")

    def wait() -> None:
        if not flags.quiet:
            print(f"waiting for the other hosts of {flags.hosts}", file=sys.stderr, flush=True)

    join_hosts(flags.hosts, flags.host_count, flags.host_index, flags.host_timeout, on_wait=wait)


def evaluate(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    split: str = "test",
    checkpoint: Literal["last", "best"] = "last",
    data: str | None = None,
    data_dir: str | None = None,
    json: bool = False,
) -> None:
    """Measure a run's checkpoint on a split of its data.

    Args:
        run: Folder of the run.
        split: test, validation or train.
        checkpoint: last, or best (lowest validation loss).
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.
        json: Print JSON.
    """
    from jaxcnn.run import measure_run

    metrics, details, names = measure_run(run, split=split, data=data, data_dir=data_dir, checkpoint=checkpoint)
    if json:
        print_json({"split": split, **metrics, "details": details})
        return
    told = metrics | {name: value for name, value in details.items() if isinstance(value, float)}
    print_table((f"{split} {name.replace('_', ' ')}", f"{value:.4f}") for name, value in told.items())
    by_class = {name: values for name, values in details.items() if name.startswith("class_")}
    by_class = {name: values for name, values in by_class.items() if len(values) == len(names)}
    if by_class:
        rows = [
            (printable(name), *("" if value is None else f"{value:.4f}" for value in values))
            for name, *values in zip(names, *by_class.values(), strict=True)
        ]
        print_table(rows, ("class", *(name.removeprefix("class_") for name in by_class)), f"{split} by class")


def predict(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="(required)")],
    top: int = 5,
    checkpoint: Literal["last", "best"] = "last",
    out: Path | None = None,
    json: bool = False,
    video: Path | None = None,
    camera: int | None = None,
    frames: int | None = None,
) -> None:
    """Predict image files of any size and mode, or a video: classes, the class of each pixel, or objects.

    Args:
        run: Folder of the run.
        images: Image files, and folders of them at any depth.
        top: Number of classes to list.
        checkpoint: last, or best (lowest validation loss).
        out: Folder for pictures, or a video, with the prediction drawn on them, of runs that predict masks or boxes,
            and for detections.json, the boxes in COCO's format. Default: none are drawn.
        json: Print JSON; a mask is run lengths, by class or by object, as COCO writes them, a box is x, y, width,
            height.
        video: Video file to predict frame by frame, in place of images (extra `video`). Default: none.
        camera: Number of the camera to watch, 0 for the first one, in place of images (extra `video`); Ctrl-C ends.
            Default: none.
        frames: video and camera only: number of frames after which to stop. Default: all.
    """
    require(top >= 1, "top", top, "must be at least 1")
    source = video if camera is None else camera
    if source is not None:
        given = "one of IMAGE, --video and --camera"
        require(
            not images and None in (video, camera), "video" if camera is None else "camera", source, f"give {given}"
        )
        _watch(run, source, top, checkpoint, out, json, frames)
        return
    require(frames is None, "frames", frames, "it is for --video and --camera; leave it out")
    if not images:
        raise InputError("IMAGE: none given; name one or more files or folders after the run")
    from jaxcnn.data.sources.folder import list_images
    from jaxcnn.run import predict as predict_images

    files: list[Path] = []
    for path in images:
        found = [path / each for each in list_images(path, path, lambda *_: None)] if path.is_dir() else [path]
        require(bool(found), "images", repr(str(path)), "the folder has no image files; name another")
        files += found
    predictions = predict_images(run, files, top=top, checkpoint=checkpoint)
    if out is not None:
        _draw(predictions, out)
    if json:
        print_json([_as_json(each) for each in predictions])
    for each in () if json else predictions:
        if "error" not in each:
            print(f"{each['path']}: {each['text']}")
    bad = [each["error"] for each in predictions if "error" in each]
    for text in bad[1:]:
        print(f"jaxcnn: {printable(text)}", file=sys.stderr)
    if bad:  # The others are printed; the exit code says that some are missing.
        raise InputError(bad[0])


def _watch(
    run: Path, source: Path | int, top: int, checkpoint: str, out: Path | None, json: bool, frames: int | None
) -> None:
    """Predict the frames of a video or a camera; show how many were seen a second, and draw a video."""
    from jaxcnn.run.video import Watched, watch
    from jaxcnn.runtime.files import write_json

    name = f"camera{source}" if isinstance(source, int) else source.stem
    drawn = None if out is None else out / f"{name}.mp4"
    require(out is None or out.is_dir() or not out.exists(), "out", repr(str(out)), "it is a file; name a folder")
    same = (
        isinstance(source, Path) and drawn is not None and drawn.exists() and source.exists() and drawn.samefile(source)
    )
    require(not same, "out", repr(str(out)), "it holds the video itself, which would be overwritten; name another")
    boxes, printed, shown = list[dict[str, Any]](), list[dict[str, Any]](), [0.0]

    def tell(seen: Watched, prediction: dict[str, Any]) -> None:
        if json:
            printed.append(_as_json(prediction))
        else:
            print(f"{prediction['path']}: {prediction['text']}")
        if "boxes" in prediction and out is not None:
            boxes.append({key: value for key, value in prediction.items() if key != "masks"})
        if (now := time.monotonic()) - shown[0] >= 1 and sys.stderr.isatty():
            shown[0] = now
            print(f"frame {seen.frames}, {seen.rate:.1f} frames per second", file=sys.stderr)

    seen = watch(run, source, out=drawn, frames=frames, top=top, checkpoint=checkpoint, tell=tell)
    if json:
        print_json(printed)
    if boxes and out is not None:
        write_json(out / "detections.json", coco_record(boxes))
    where = "" if drawn is None else f", drawn in {printable(str(drawn))}"
    print(f"{seen.frames} frames, {seen.rate:.1f} frames per second{where}", file=sys.stderr if json else sys.stdout)


def _as_json(prediction: dict[str, Any]) -> dict[str, Any]:
    """Return a prediction without its text; a mask as run lengths of each class, a box as x, y, width, height."""
    from jaxcnn.analysis.scores.run_length import encode

    if "boxes" in prediction:
        rows = zip(*(prediction[name].tolist() for name in ("boxes", "scores", "labels")), strict=True)
        found = [
            {"class": prediction["classes"][label], "bbox": [x, y, right - x, bottom - y], "score": score}
            for (y, x, bottom, right), score, label in rows
        ]
        for each, mask in zip(found, prediction.get("masks", ()), strict=False):
            each["rle"] = encode(mask)
        return {"path": prediction["path"], "height": prediction["size"][0], "width": prediction["size"][1]} | {
            "objects": found
        }
    plain = {name: value for name, value in prediction.items() if name not in ("text", "mask", "classes")}
    if (mask := prediction.get("mask")) is None:
        return plain
    found = [(name, mask == k) for k, name in enumerate(prediction["classes"])]
    return plain | {"segments": [{"class": name, "rle": encode(its)} for name, its in found if its.any()]}


def coco_record(predictions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return detections in COCO's format: images, categories from 1, annotations with scores, masks as run lengths."""
    from jaxcnn.analysis.scores.run_length import encode

    images, annotations = [], []
    for number, each in enumerate(predictions, 1):
        height, width = each["size"]
        images.append({"id": number, "file_name": str(each["path"]), "height": height, "width": width})
        rows = zip(*(each[name].tolist() for name in ("boxes", "scores", "labels")), strict=True)
        for place, ((y, x, bottom, right), score, label) in enumerate(rows):
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0, "score": score,
                "bbox": [x, y, right - x, bottom - y], "area": (bottom - y) * (right - x),
            })  # fmt: skip
            if "masks" in each:
                mask = each["masks"][place]
                annotations[-1] |= {"segmentation": encode(mask), "area": int(mask.sum())}
    names = enumerate(predictions[0]["classes"] if predictions else (), 1)
    categories = [{"id": number, "name": name} for number, name in names]
    return {"images": images, "categories": categories, "annotations": annotations}


def _draw(predictions: Sequence[dict[str, Any]], out: Path) -> None:
    """Write a picture of each prediction into a folder, named as its image; a second of that name gets a number."""
    from jaxcnn.run import draw_prediction

    require(out.is_dir() or not out.exists(), "out", repr(str(out)), "it is a file; name a folder")
    used = set[str]()
    for each in predictions:
        picture = None if "error" in each else draw_prediction(each["path"], each)
        if picture is None:
            continue
        stem, number = Path(each["path"]).stem, 1
        while (name := stem if number == 1 else f"{stem}_{number}") in used:
            number += 1
        used.add(name)
        out.mkdir(parents=True, exist_ok=True)
        picture.save(out / f"{name}.png")
    if boxes := [each for each in predictions if "boxes" in each]:
        from jaxcnn.runtime.files import write_json

        write_json(out / "detections.json", coco_record(boxes))
    if not used and not all("error" in each for each in predictions):
        raise InputError(f"out={str(out)!r}: nothing is drawn for predictions of this run; leave --out out")
