"""A folder that any web server can serve: a page, the network as ONNX, and onnxruntime-web, which runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

from jaxcnn.errors import InputError, require
from jaxcnn.run.browser.page import make_page
from jaxcnn.run.export import Exported, export_run
from jaxcnn.run.folder import RunFolder
from jaxcnn.runtime.files import write_text

RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Files of onnxruntime-web that the page loads; they are in the folder `dist` of its package."""
SHOWN = ("classification", "localization", "detection", "segmentation")
"""Tasks whose outputs the page reads."""


def export_web(
    directory: Path | str,
    *,
    ort: Path | str | None = None,
    int8: bool = False,
    checkpoint: str = "last",
    out: Path | str | None = None,
    data: str | None = None,
    data_dir: str | None = None,
) -> Exported:
    """Write a folder with a page that runs a network in the browser: index.html and network.onnx.

    Args:
        directory: The run's folder.
        ort: Folder that holds onnxruntime-web's files, which are copied. Default: they are put there by hand.
        int8, checkpoint, data, data_dir: As for `export_run`.
        out: The folder. Default: web in the run's folder.

    Raises:
        InputError: As `export_run`; a task that is not in `SHOWN`; `ort` lacks a file.

    >>> export_web("runs/first", ort="node_modules/onnxruntime-web/dist").path  # doctest: +SKIP
    PosixPath('runs/first/web/network.onnx')
    """
    folder = RunFolder(Path(directory))
    if (kind := folder.read_config()[0].task.kind) not in SHOWN:
        other = "gallery" if kind == "embedding" else "demo"
        raise InputError(f"to='web': its page has nothing for the run's task, {kind}; use jaxcnn {other}")
    for name in RUNTIME if ort is not None else ():
        if not Path(str(ort), name).is_file():
            raise InputError(f"ort={str(ort)!r}: it has no {name}; give the folder dist of onnxruntime-web")
    out = folder.path / "web" if out is None else Path(out)
    foreign = (out / "index.html").exists() and not (out / "network.onnx").exists()
    require(not foreign, "out", repr(str(out)), "it has an index.html of something else; choose another folder")
    kept = {"int8": int8, "checkpoint": checkpoint, "data": data, "data_dir": data_dir}
    made = export_run(directory, to="onnx", preprocess=True, out=out / "network.onnx", **kept)
    for name in RUNTIME if ort is not None else ():
        shutil.copyfile(Path(str(ort), name), out / name)
    write_text(out / "index.html", make_page(directory, network=True))
    return made
