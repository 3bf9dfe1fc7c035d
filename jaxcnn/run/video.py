"""A run that looks at the frames of a video file or a camera, through PyAV (the extra `video`)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.errors import InputError, missing_extra, printable, require, similar_paths
from jaxcnn.run.draw import draw_prediction
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.predict import described, load_predictor

RATE = 25
"""Frames per second of the drawn video where the source does not say its own."""
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
"""Format and name of the n-th camera, as FFmpeg calls them, by platform."""


class Watched(NamedTuple):
    """How many frames were seen, and how fast.

    Args:
        frames: Number of frames.
        rate: Frames per second: decoding, predicting and drawing together, without the first frame, which compiles. 0
            for a single frame.
    """

    frames: int
    rate: float


def watch(
    directory: Path | str,
    source: Path | int,
    *,
    out: Path | None = None,
    frames: int | None = None,
    top: int = 5,
    checkpoint: str = "last",
    tell: Callable[[Watched, dict[str, Any]], None] = lambda watched, prediction: None,
) -> Watched:
    """Predict each frame of a video file or of a camera, and write a video with the predictions drawn on it.

    An interrupt (Ctrl-C) ends a camera like the end of a file.

    Args:
        directory: The run's folder.
        source: The video file, or the number of the camera, 0 for the first one.
        out: The video to write, .mp4 or another container that FFmpeg knows by its ending. Default: none.
        frames: Number of frames after which to stop. Default: the end of the file.
        top: Number of alternatives to list.
        checkpoint: last, or best (lowest validation loss).
        tell: Called after each frame with what was seen so far and the frame's prediction, as `jaxcnn.run.predict`
            returns it; the path is that of the source and the frame's number.

    Raises:
        InputError: PyAV is missing, the source cannot be opened or is damaged, or nothing can be drawn. Frames before
            the damage are in the video.

    >>> watch("runs/first", Path("street.mp4"), out=Path("drawn.mp4")).rate  # doctest: +SKIP
    41.7
    """
    require(frames is None or frames >= 1, "frames", frames, "must be at least 1; leave it out to see all")
    require(not isinstance(source, int) or source >= 0, "camera", source, "must be 0, the first one, or more")
    av = _av(_argument(source))
    channels = described(RunFolder(Path(directory)))[1][2]
    describe, start, seen = load_predictor(directory, checkpoint=checkpoint), 0.0, Watched(0, 0.0)
    with ExitStack() as stack:
        rate, pictures = stack.enter_context(_opened(av, source))
        write = None if out is None else stack.enter_context(_writer(av, out, rate))
        with suppress(KeyboardInterrupt) if isinstance(source, int) else ExitStack():
            for number, frame in enumerate(pictures, 1):
                (prediction,) = describe([frame if channels == 3 else _grey(frame)], top)
                prediction["path"] = f"{_name(source)}#{number}"
                if write is not None:
                    drawn = draw_prediction(frame, prediction, legend=False)
                    if drawn is None:
                        raise InputError(
                            f"out={str(out)!r}: nothing is drawn for predictions of this run; leave it out"
                        )
                    write(np.asarray(drawn))
                start = start or time.perf_counter()
                seen = Watched(number, (number - 1) / max(time.perf_counter() - start, 1e-9))
                tell(seen, prediction)
                if number == frames:
                    break
    require(seen.frames > 0, "video", repr(_name(source)), "it has no frame; give another one")
    return seen


def _grey(frame: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).convert("L"))[..., None]


def _name(source: Path | int) -> str:
    return f"camera{source}" if isinstance(source, int) else str(source)


def _argument(source: Path | int) -> str:
    return f"camera={source}" if isinstance(source, int) else f"video={str(source)!r}"


def _av(argument: str) -> Any:
    try:
        return import_module("av")
    except ImportError:
        raise missing_extra(argument, "PyAV", "video") from None


@contextmanager
def _opened(av: Any, source: Path | int) -> Iterator[tuple[Fraction, Iterator[np.ndarray]]]:
    """Open a source; its frames per second and its frames, uint8 (H, W, 3)."""
    argument = _argument(source)
    if isinstance(source, int):
        form, name = CAMERAS.get(sys.platform, CAMERAS["linux"])
        place, remedy = name.format(source), "give the number of another camera, or a file with --video"
    else:
        require(source.is_file(), "video", repr(str(source)), f"there is no such file{similar_paths(source)}")
        form, place, remedy = None, str(source), "give a video that FFmpeg reads, such as .mp4 or .webm"

    def frames(container: Any, stream: Any) -> Iterator[np.ndarray]:
        number = 0
        try:
            for frame in container.decode(stream):
                number += 1
                yield frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{argument}: damaged after frame {number} ({printable(str(error))}); {remedy}") from None

    try:
        container = av.open(place, format=form)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{argument}: it cannot be opened ({printable(str(error))}); {remedy}") from None
    with container:
        if not container.streams.video:
            raise InputError(f"{argument}: it has no pictures; {remedy}")
        stream = container.streams.video[0]
        yield Fraction(stream.average_rate or RATE), frames(container, stream)


@contextmanager
def _writer(av: Any, out: Path, rate: Fraction) -> Iterator[Callable[[np.ndarray], None]]:
    """Give the function that appends a frame, uint8 (H, W, 3), to a new video."""
    out.parent.mkdir(parents=True, exist_ok=True)
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(out), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = "yuv420p"  # what browsers show

        written = 0

        def write(frame: np.ndarray) -> None:
            nonlocal written
            height, width = frame.shape[:2]
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # the codec needs it
            if not written:
                stream.width, stream.height = even.shape[1], even.shape[0]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            written += 1

        try:
            yield write
        finally:
            if written:
                container.mux(stream.encode())
