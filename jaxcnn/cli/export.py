"""`jaxcnn export`: the network of a run as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxcnn.errors import require


def export(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    to: Literal["onnx", "stablehlo", "litert", "web"] = "onnx",
    int8: bool = False,
    preprocess: bool = False,
    checkpoint: Literal["last", "best"] = "last",
    data: str | None = None,
    data_dir: str | None = None,
    ort: Path | None = None,
    out: Path | None = None,
) -> None:
    """Write the network of a run to a file for other programs, after a comparison on images of the test split.

    Args:
        run: Folder of the run.
        to: onnx (phones, browsers, servers; needs the extra export), stablehlo (JAX), litert (phones, formerly
            TensorFlow Lite), or web: a folder with an ONNX file and a page that runs it in the browser.
        int8: Compute in 8 bits; onnx and web only. Prints the metrics of the test split in 8 and in 32 bits.
        preprocess: Take pixels 0 to 255 as uint8 and normalise them in the file.
        checkpoint: last, or best (lowest validation loss).
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.
        ort: Folder of onnxruntime-web's files, which web copies. Default: none are copied.
        out: The file, or web's folder. Default: network.onnx, network_int8.onnx, network.stablehlo, network.tflite or
            web in the run's folder.
    """
    from jaxcnn.run.export import export_run

    if to == "web":
        from jaxcnn.run.browser.folder import export_web

        require(not preprocess, "preprocess", preprocess, "files of web always take pixels; leave it out")
        made = export_web(run, ort=ort, int8=int8, checkpoint=checkpoint, data=data, data_dir=data_dir, out=out)
    else:
        require(ort is None, "ort", repr(str(ort)), "it is for web; leave it out")
        made = export_run(
            run, to=to, int8=int8, preprocess=preprocess, checkpoint=checkpoint, data=data, data_dir=data_dir, out=out
        )
    kind = "of their standard deviation, root mean square" if int8 else "of the largest"
    print(f"outputs differ from those of the run by {made.difference:.1e} {kind}, on {made.compared} test images")
    for name, value in made.metrics.items():
        print(f"{name}: {value:.4f} in 8 bits, {made.float_metrics[name]:.4f} in 32")
    print(f"written to {made.path} ({made.size / 1e6:.2f} MB)")
