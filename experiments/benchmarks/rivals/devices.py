"""Measure every mode on the devices of this process: `devices.py REQUEST`; the last line is the answer.

Request: modes, network, batch_size, rounds, losses (how many steps' losses to report).
"""

import json
import sys
from dataclasses import replace
from typing import Any

from networks import SPECS
from ours import jax, random_images  # first: the import prepares the backend as our entry points do

from jaxcnn.errors import InputError
from jaxcnn.models import named
from jaxcnn.run import run
from jaxcnn.run.cost import compile_all, time_steps
from jaxcnn.runtime.environment import environment
from jaxcnn.spec import OptimizerConfig, RunConfig


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Return seconds per step (rounds in turns) and losses of each mode, and why other modes were refused."""
    size, network = request["batch_size"], request["network"]
    dataset = random_images(network, size)
    recipe = OptimizerConfig(learning_rate=0.05, schedule="constant", warmup_epochs=0)
    spec = named(SPECS[network])
    base = RunConfig(spec, optimizer=recipe, epochs=request["losses"], batch_size=size, scan=False, evaluate_test=False)
    losses: dict[str, list[float]] = {}
    refused: dict[str, str] = {}
    for mode in request["modes"]:
        # The set is one batch, so each epoch is one step.
        try:
            done = run(replace(base, parallel=mode), dataset=dataset, progress=False)
        except InputError as error:
            refused[mode] = str(error)
        else:
            losses[mode] = [record["train_loss"] for record in done.history]
    pairs = [(replace(base, parallel=mode), None) for mode in losses]
    timed = time_steps(compile_all(pairs, dataset), rounds=request["rounds"])
    return {
        "rounds": dict(zip(losses, timed, strict=True)),
        "losses": losses,
        "refused": refused,
        "devices": jax.device_count(),
        "environment": environment(),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
