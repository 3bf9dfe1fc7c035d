"""Build a rival, warm up, then run the steps that each line of input asks for.

    worker.py NAME NETWORK BATCH DTYPE WORK

A rival is a module here with `make(network, batch_size, dtype, variant) -> (parameters, run)`, where `run(steps)`
returns the loss of the last step once everything is computed. For inference it is `make_inference`, and `run` returns
the mean of the last logits.
"""

import importlib
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version

from networks import Absent

# name -> (module, variant)
RIVALS = {
    "ours": ("ours", ""),
    "linen": ("linen", ""),
    "nnx": ("nnx", ""),
    "keras_jax": ("keras_jax", ""),
    "torch_eager": ("pytorch", "eager"),
    "torch_compile": ("pytorch", "compile"),
    "torch_graphs": ("pytorch", "graphs"),
    "onnxruntime": ("onnx_file", ""),
}
MAKERS = {"training": "make", "inference": "make_inference"}
WARM_UP = 2


def main() -> None:
    """Answer with one JSON object a line."""
    # Keeps what frameworks print out of the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    name, network, batch_size, dtype, work = sys.argv[1:]
    module, variant = RIVALS[name]
    start = time.perf_counter()
    try:
        rival = importlib.import_module(module)
        parameters, run = getattr(rival, MAKERS[work])(network, int(batch_size), dtype, variant)
    except ModuleNotFoundError as error:
        answer(missing=f'{error.name} is not installed; pip install -c constraints.txt -e ".[benchmarks]"')
        return
    except Absent as error:
        answer(missing=str(error))
        return
    first = run(1)
    ready = time.perf_counter() - start
    last = run(WARM_UP)
    about = rival.about() if hasattr(rival, "about") else {}
    answer(parameters=parameters, first_loss=first, last_loss=last, ready=ready, versions=versions(), environment=about)
    for line in sys.stdin:
        start = time.perf_counter()
        loss = run(int(line))
        answer(seconds=time.perf_counter() - start, loss=loss)


def versions() -> dict[str, str]:
    """Return the versions of the compared frameworks."""
    found = {}
    for package in ("jax", "flax", "keras", "torch", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
