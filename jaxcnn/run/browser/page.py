"""The page of a run: one HTML file; pictures come from a file, the camera or the mouse."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from jaxcnn.pictures.predictions import class_colours
from jaxcnn.records import as_record
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.predict import described


def make_page(directory: Path | str, *, network: bool) -> str:
    """Return the HTML page of a run.

    Args:
        directory: The run's folder.
        network: Whether the browser runs the network itself, from `network.onnx` beside the page. Otherwise the page
            asks its server.

    >>> make_page("runs/first", network=False)  # doctest: +SKIP
    """
    folder = RunFolder(Path(directory))
    config, (names, shape, *_) = folder.read_config()[0], described(folder)
    model = config.model.family if config.model is not None else "own module"
    about = {"task": config.task.kind, "classes": names, "shape": shape, "fit": config.data.fit}
    about |= {"colours": class_colours(len(names)).tolist(), "options": as_record(config.task)}
    parts = {
        "TITLE": escape(f"{folder.path.resolve().name}: {model} on {config.data.name}"),
        "ABOUT": json.dumps(about).replace("<", "\\u003c"),
        "PICTURE": _text("picture.js"),
        "ANSWER": _text("network.js" if network else "server.js"),
        "RUNTIME": '<script src="ort.wasm.min.js"></script>' if network else "",
    }
    page = _text("page.html")
    for name, text in parts.items():
        page = page.replace(f"<!-- {name} -->", text)
    return page


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
