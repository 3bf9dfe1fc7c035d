"""`jaxcnn predict RUN --video FILE`: frames in, a video with boxes out."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.run import predict, run
from jaxcnn.run.video import watch
from tests.cli.calls import call, refused
from tests.run.test_detector import config, draw

SIDES = (65, 97)  # odd, which the codec of the drawn video refuses


def test_bad_input_is_one_sentence(capsys, monkeypatch, tmp_path):
    image, film = tmp_path / "a.png", tmp_path / "a.mp4"
    assert "give one of IMAGE, --video and --camera" in refused(capsys, "predict", tmp_path, image, "--video", film)
    assert "give one of IMAGE" in refused(capsys, "predict", tmp_path, "--video", film, "--camera", "0")
    assert "--frames 3: it is for --video" in refused(capsys, "predict", tmp_path, image, "--frames", "3")
    assert "--frames 0: must be at least 1" in refused(capsys, "predict", tmp_path, "--video", film, "--frames", "0")
    assert "--camera -1: must be 0" in refused(capsys, "predict", tmp_path, "--camera", "-1")
    monkeypatch.setitem(sys.modules, "av", None)
    for source, name in ((["--video", film], f"--video {film}"), (["--camera", "0"], "--camera 0")):
        said = refused(capsys, "predict", tmp_path, *source)
        assert f"{name}: PyAV is not installed" in said
        assert ".[video]" in said


def film(path, frames, sides=SIDES):
    """A red square that moves to the right, ten frames a second."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10, options={"slices": "4"})  # lossless
        stream.height, stream.width, stream.pix_fmt = *sides, "bgr0"
        for number in range(frames):
            pixels = np.full((*sides, 3), 30, np.uint8)
            pixels[20:40, 8 * number : 8 * number + 20] = 230, 40, 40
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    return path


def frames_of(path):
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return rate, [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    pytest.importorskip("av")
    folder = draw(tmp_path_factory.mktemp("objects"))
    return run(config(folder), out=tmp_path_factory.mktemp("watched") / "run", progress=False).directory


@pytest.mark.slow
def test_a_video_is_predicted_frame_by_frame_and_drawn(capsys, finished, tmp_path):
    source = film(tmp_path / "square.mkv", 6)
    code, out, error = call(capsys, "predict", finished, "--video", source, "--out", tmp_path / "drawn", "--json")
    assert code == 0, error
    assert "6 frames, " in error
    assert "frames per second" in error
    found = json.loads(out)
    assert [each["path"] for each in found] == [f"{source}#{number}" for number in range(1, 7)]
    rate, pictures = frames_of(tmp_path / "drawn" / "square.mp4")
    before = frames_of(source)[1]
    assert rate == 10
    assert [each.shape for each in pictures] == [(66, 98, 3)] * 6
    # Each frame is predicted as the same picture is alone, and drawn on.
    for record, frame in zip(found, before, strict=True):
        (alone,) = predict(finished, [frame])
        assert [each["score"] for each in record["objects"]] == pytest.approx(alone["scores"].tolist(), abs=1e-5)
    assert any(each["score"] > 0.5 for record in found for each in record["objects"])
    drawn = np.abs(pictures[2][:65, :97].astype(int) - before[2]).max(axis=-1) > 60
    assert 5 < drawn.sum() < 0.5 * drawn.size
    stored = json.loads((tmp_path / "drawn" / "detections.json").read_text())
    assert len(stored["images"]) == 6
    assert len(stored["annotations"]) == sum(len(each["objects"]) for each in found)
    # A part of it, without a video; then in place of itself.
    code, out, _ = call(capsys, "predict", finished, "--video", source, "--frames", "2")
    assert code == 0
    assert out.splitlines()[2].startswith("2 frames, ")
    assert "overwritten" in refused(
        capsys, "predict", finished, "--video", tmp_path / "drawn" / "square.mp4", "--out", tmp_path / "drawn"
    )
    assert watch(finished, source, frames=1) == (1, 0.0)


@pytest.mark.slow
def test_what_is_no_video_is_refused_and_what_came_before_damage_is_kept(capsys, finished, tmp_path):
    assert "there is no such file" in refused(capsys, "predict", finished, "--video", tmp_path / "none.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    assert "cannot be opened" in refused(capsys, "predict", finished, "--video", text)
    assert "--camera 77: it cannot be opened" in refused(capsys, "predict", finished, "--camera", "77")
    whole = film(tmp_path / "whole.mkv", 12)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: Path(whole).stat().st_size * 2 // 3])
    code, _, error = call(capsys, "predict", finished, "--video", cut, "--out", tmp_path / "drawn")
    assert code in (0, 2), error  # FFmpeg takes a cut Matroska file for a shorter one
    assert "Traceback" not in error
    assert 1 <= len(frames_of(tmp_path / "drawn" / "cut.mp4")[1]) < 12
