"""The page of a run: its server refuses what is not its own page's, and shows what the run predicts."""

import base64
import functools
import http.client
import io
import json
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import decode_image, load
from jaxcnn.errors import InputError
from jaxcnn.records import as_record
from jaxcnn.run import predict, run
from jaxcnn.run.browser.answer import load_answer
from jaxcnn.run.browser.folder import RUNTIME
from jaxcnn.run.browser.page import make_page
from jaxcnn.run.browser.server import LIMIT, make_server
from jaxcnn.spec import DataConfig, Detection, Embedding, ModelSpec, RunConfig
from jaxcnn.tasks.detection import detection
from tests.cli.calls import call, refused

DATA = DataConfig("digits")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


def shown(picture):
    """Return the pixels of a picture that a page shows."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/png;base64,")))))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    config = RunConfig(ModelSpec("plain", 3, 4), DATA, epochs=1)
    return run(config, out=tmp_path_factory.mktemp("browser") / "run", progress=False).directory


@contextmanager
def serving(server):
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def port():
    def answer(file):
        return {"text": str(decode_image(file, 1).shape)}

    with serving(make_server("<p>the page</p>", answer)) as number:
        yield number


def ask(port, method="POST", path="/answer", body=b"", headers=None):
    """Return status, headers and content of one request."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()


def test_the_page_and_an_answer(port):
    status, headers, content = ask(port, "GET", "/")
    assert (status, content) == (200, b"<p>the page</p>")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    status, _, content = ask(port, body=png(np.zeros((4, 6), np.uint8)), headers=own)
    assert (status, json.loads(content)) == (200, {"text": "(4, 6, 1)"})


def test_it_listens_on_loopback_only():
    with make_server("", lambda file: {}) as server:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(InputError, match=r"port=\d+: Address already in use; give another one"):
            make_server("", lambda file: {}, server.server_port)
    with pytest.raises(InputError, match="port=70000: must be from 0 to 65535"):
        make_server("", lambda file: {}, 70000)


@pytest.mark.parametrize(
    "path", ["/config.json", "/../config.json", "//etc/passwd", "/%2e%2e/etc/passwd", "/?file=/etc/passwd", "/answer"]
)
def test_no_path_is_read_from_a_request(port, path):
    assert ask(port, "GET", path)[0] == 404
    if path != "/answer":
        assert ask(port, "POST", path, b"x")[0] == 404


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "evil.example:80"}, {"Host": "127.0.0.1"}, {"Host": ""},
     {"Origin": "http://evil.example"}, {"Origin": "null"}],
    ids=str,
)  # fmt: skip
def test_other_pages_and_hosts_are_refused(port, method, headers):
    status, _, content = ask(port, method, "/" if method == "GET" else "/answer", headers=headers)
    assert (status, json.loads(content)["error"]) == (403, "this page is for this machine only")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Length": str(LIMIT + 1)}, 413),
        ({"Content-Length": "9" * 5000}, 413),
        ({"Content-Length": "-1"}, 411),
        ({"Content-Length": "²"}, 411),
        ({"Transfer-Encoding": "chunked"}, 411),
    ],
    ids=["large", "huge", "negative", "no digit", "chunked"],
)
def test_a_body_of_no_or_a_large_length_is_not_read(port, headers, status):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.putrequest("POST", "/answer")
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        reply = connection.getresponse()
    assert (reply.status, reply.headers["Connection"]) == (status, "close")


def test_what_is_no_image_is_one_sentence(port):
    for body in (b"", b"<html>", png(np.zeros((4, 6), np.uint8))[:40]):
        status, _, content = ask(port, body=body)
        assert status == 422
        assert json.loads(content)["error"].startswith("picture: ")
    assert ask(port, "PUT", "/answer", b"x")[0] == 501
    assert ask(port, "GET", "/")[0] == 200  # it still answers


def test_classes_are_those_of_predict_beside_grad_cam(classifier):
    image = np.asarray(load(DATA).load_test()["images"][0])
    answer = load_answer(classifier)(png(image))
    (told,) = predict(classifier, [image], top=10)
    assert answer["text"] == told["name"]
    assert answer["rows"] == told["top"]
    assert sum(share for _, share in answer["rows"]) == pytest.approx(1, abs=1e-5)
    seen, cam = answer["pictures"]
    assert np.array_equal(shown(seen[1]), image[..., 0])
    assert (cam[0], shown(cam[1]).shape) == (f"Grad-CAM: why {told['name']}", (8, 8, 3))
    json.dumps(answer)


def test_a_page_holds_its_scripts_and_names_as_data(classifier, tmp_path):
    page = make_page(classifier, network=False)
    assert "<!-- " not in page.split("<script>")[0]
    assert '"classes": ["0", "1"' in page
    assert 'fetch("answer"' in page
    assert "ort.wasm" not in page
    copied = shutil.copytree(classifier, tmp_path / "<b>")
    data = json.loads((copied / "data.json").read_text())
    data["class_names"][0] = "</script><script>alert(1)"
    (copied / "data.json").write_text(json.dumps(data))
    (copied / "result.json").unlink()  # its seal would show that a file was edited
    page = make_page(copied, network=False)
    assert "<b>" not in page
    assert "</script><script>alert" not in page


def test_web_export(classifier, tmp_path, capsys):
    ort = tmp_path / "dist"
    ort.mkdir()
    words = ("export", classifier, "--to", "web", "--ort", ort, "--out", tmp_path / "site")
    assert "it has no ort.wasm.min.js" in refused(capsys, *words)
    for name in RUNTIME:
        (ort / name).write_text(name)
    code, out, error = call(capsys, *words)
    assert code == 0, error
    assert "written to" in out
    assert {path.name for path in (tmp_path / "site").iterdir()} == {"index.html", "network.onnx", *RUNTIME}
    page = (tmp_path / "site" / "index.html").read_text()
    assert '<script src="ort.wasm.min.js"></script>' in page
    assert "InferenceSession.create" in page
    assert "leave it out" in refused(capsys, "export", classifier, "--to", "web", "--preprocess")
    assert "it is for web" in refused(capsys, "export", classifier, "--ort", ort)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_browser_resizes_as_pillow_does(tmp_path):
    from jaxcnn.run.browser import page

    script = page._text("network.js").split("function softmax")[0]
    script = "globalThis.ort = undefined;\n" + script[script.index("// Which part") :]
    rng, cases = np.random.default_rng(0), []
    for (height, width), shape, fit in (
        ((280, 280), (28, 28, 1), "squash"), ((60, 90), (32, 32, 3), "crop"), ((90, 61), (24, 32, 3), "crop"),
        ((60, 90), (32, 32, 3), "pad"), ((12, 7), (28, 28, 1), "pad"),
    ):  # fmt: skip
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        cases.append((image, shape, fit))
    asked = [
        {"data": np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]).ravel().tolist(),
         "height": image.shape[0], "width": image.shape[1], "shape": shape, "fit": fit}
        for image, shape, fit in cases
    ]  # fmt: skip
    (tmp_path / "cases.json").write_text(json.dumps(asked))
    script += """
      const cases = JSON.parse(require("fs").readFileSync(process.argv[2]));
      const all = cases.map(each => Array.from(fitted(each.data, each.height, each.width, each.shape, each.fit)));
      console.log(JSON.stringify(all));"""
    (tmp_path / "run.cjs").write_text(script)
    done = subprocess.run(
        ["node", tmp_path / "run.cjs", tmp_path / "cases.json"], capture_output=True, text=True, check=True
    )
    for (image, shape, fit), found in zip(cases, json.loads(done.stdout), strict=True):
        expected = decode_image(png(image), shape[2], shape[:2], fit)
        assert np.abs(np.reshape(found, shape) - expected.astype(int)).max() <= 1, (shape, fit)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("form", ["ssd", "retinanet", "yolo"])
def test_the_browser_finds_the_objects_that_the_task_finds(form, tmp_path):
    from jaxcnn.run.browser import page

    rng, config, count = np.random.default_rng(0), Detection(candidates=60, detections=20), 200
    corners = rng.uniform(0, 0.7, (count, 2))
    codes = rng.normal(0, 2, (1, count, 4)).astype(np.float32)
    outputs = {"codes": codes, "anchors": np.hstack([corners, corners + rng.uniform(0.1, 0.4, (count, 2))])}
    outputs |= {("scores" if form == "ssd" else "logits"): rng.normal(0, 3, (1, count, 4))}
    if form == "yolo":
        cells = np.hstack([rng.uniform(0, 1, (count, 2)), np.full((count, 2), 0.1)])
        outputs = {"cells": cells, "distances": codes / 2, "scores": rng.normal(0, 3, (1, count, 3))}
    outputs = {name: value.astype(np.float32) for name, value in outputs.items()}
    found = detection(config).decode({name: jnp.asarray(value) for name, value in outputs.items()})
    expected = [[int(label), float(score), *map(float, box)] for label, score, box in
                zip(*(np.asarray(found[name])[0] for name in ("labels", "scores", "boxes")), strict=True)]  # fmt: skip
    given = {name: {"data": value.ravel().tolist(), "dims": value.shape} for name, value in outputs.items()}
    (tmp_path / "given.json").write_text(json.dumps([given, as_record(config)]))
    text = page._text("network.js")
    script = text[text.index("function softmax") : text.index("// A copy of the picture")]
    script += """
      const [given, options] = JSON.parse(require("fs").readFileSync(process.argv[2]));
      for (const each of Object.values(given)) each.data = Float32Array.from(each.data);
      console.log(JSON.stringify(detected(given, options).map(([label, score, box]) => [label, score, ...box])));"""
    (tmp_path / "run.cjs").write_text(script)
    command = ["node", tmp_path / "run.cjs", tmp_path / "given.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(expected) == 20
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)


@pytest.mark.slow
def test_vectors_have_no_page(tmp_path):
    config = RunConfig(
        ModelSpec("plain", 3, 4, head="embedding"), DataConfig("glyphs", classes=10, images=200), task=Embedding(),
        epochs=1, batch_size=50,
    )  # fmt: skip
    run(config, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="use jaxcnn gallery"):
        load_answer(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "data", "caption"),
    [
        ("localizer", DataConfig("glyph_scenes", classes=2, images=60, size=32), "prediction"),
        ("fcn", DataConfig("glyph_masks", classes=2, images=60, size=32), "prediction"),
        ("reader", DataConfig("lines:digits", images=80, size=(16, 128)), "what the network saw"),
    ],
)
def test_other_tasks_are_drawn(head, data, caption, tmp_path, capsys):
    model = ModelSpec("plain", 3, 4, head=head) if head != "fcn" else ModelSpec("resnet", 8, 4, head=head)
    run(RunConfig(model, data, epochs=1, batch_size=16), out=tmp_path / "run", progress=False)
    image = np.asarray(load(data).load_test()["images"][0])
    answer = load_answer(tmp_path / "run")(png(image))
    assert [each[0] for each in answer["pictures"]] == [caption]
    assert shown(answer["pictures"][0][1]).ndim >= 2
    json.dumps(answer)
    if head == "reader":
        assert "use jaxcnn demo" in refused(capsys, "export", tmp_path / "run", "--to", "web")
    else:
        assert call(capsys, "export", tmp_path / "run", "--to", "web")[0] == 0


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(classifier):
    command = [sys.executable, "-m", "jaxcnn", "demo", str(classifier), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            port = int(child.stdout.readline().split()[0].rstrip("/").rpartition(":")[2])
            assert ask(port, "GET", "/")[0] == 200
            answer = json.loads(ask(port, body=png(np.zeros((8, 8), np.uint8)))[2])
            assert len(answer["rows"]) == 10
            child.send_signal(signal.SIGINT)
            assert child.communicate(timeout=60) == ("", "")
            assert child.returncode == 0
        finally:
            child.kill()
