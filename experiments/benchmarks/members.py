"""Many networks at once: one vmapped program of M members against the same members one after another.

Question: how many images a second do M seeds of one network train on, together and in turn?
Runtime: about 5 minutes on two cores; sizes whose step is expected to take longer than `--limit` are left out.
Expected: docs/benchmarks.md. On a CPU convolutions with a kernel of each member's own are slow; on a GPU small networks
leave most of the device idle, which members use.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.cli import launch
from jaxcnn.models import build, named
from jaxcnn.runtime.environment import environment
from jaxcnn.spec import ModelSpec, OptimizerConfig
from jaxcnn.tasks import classification
from jaxcnn.train import make_init, make_optimizer, make_train_step
from table import Watch, ratio, summarise, write
from turns import alternate

# Name -> spec, image shape. Studies on small images train networks such as the first two.
NETWORKS = {
    "dense3": (ModelSpec("dense", depth=3, width=32, num_classes=10), (8, 8, 1)),
    "resnet8": (ModelSpec("resnet", depth=8, width=4, num_classes=10), (8, 8, 1)),
    "lenet5": (named("lenet5"), (28, 28, 1)),
    "resnet20": (named("resnet20"), (32, 32, 3)),
}
COLUMNS = [
    "network", "members", "together, images/s", "in turn, images/s", "together, member-steps/s",
    "in turn, member-steps/s", "together × faster",
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Members together and in turn.

    Args:
        networks: dense3 and resnet8 (8x8x1), lenet5 (28x28x1), resnet20 (32x32x3).
        members: How many networks.
        batch_size: Images per member and step; each member has its own batch.
        rounds: Times that each side is measured.
        seconds: Approximate length of one turn.
        limit: Sizes whose joint step is expected to take more seconds are left out.
        out: Folder for the JSON.
    """

    networks: tuple[str, ...] = tuple(NETWORKS)
    members: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    batch_size: int = 128
    rounds: int = 5
    seconds: float = 0.3
    limit: float = 4.0
    out: Path = Path("runs/benchmarks")


SMOKE = Config(("dense3",), (1, 2), batch_size=8, rounds=2, seconds=0.01)


def parts(network: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the pure step and the initialisation of one member."""
    spec, shape = NETWORKS[network]
    module, tx = build(spec, num_classes=10), make_optimizer(OptimizerConfig(), 1000, 100)
    return make_train_step(module, tx, classification()), make_init(module, tx, shape)


def batch(network: str, *lead: int) -> dict[str, jax.Array]:
    """Return random images on the device."""
    rng, shape = np.random.default_rng(0), NETWORKS[network][1]
    images = jnp.asarray(rng.normal(size=(*lead, *shape)), jnp.float32)
    return {"images": images, "labels": jnp.asarray(rng.integers(0, 10, lead), jnp.int32), "mask": jnp.ones(lead)}


def together(network: str, members: int, batch_size: int) -> Callable[[int], float]:
    """Return a turn of one program that trains all members."""
    step, init = parts(network)
    program = jax.jit(jax.vmap(step), donate_argnums=0)
    states = [jax.device_get(init(jax.random.key(seed))) for seed in range(members)]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    data, keys = batch(network, members, batch_size), jax.random.split(jax.random.key(1), members)

    def run() -> Any:
        nonlocal state
        state, sums = program(state, data, keys)
        return state, sums

    return turn(run)


def in_turn(network: str, batch_size: int) -> Callable[[int], Callable[[int], float]]:
    """Return members -> a turn of as many single steps, one after another, of one compiled program."""
    step, init = parts(network)
    program = jax.jit(step, donate_argnums=0)
    data, key = batch(network, batch_size), jax.random.key(1)

    def make(members: int) -> Callable[[int], float]:
        states = [init(jax.random.key(seed)) for seed in range(members)]

        def run() -> Any:
            sums: Any = None
            for member, state in enumerate(states):
                states[member], sums = program(state, data, key)
            return states, sums

        return turn(run)

    return make


def turn(run: Callable[[], Any]) -> Callable[[int], float]:
    """Warm up, and return steps -> seconds per step, until all results are computed."""
    jax.block_until_ready(run())

    def timed(steps: int) -> float:
        start, last = time.perf_counter(), None
        for _ in range(steps):
            last = run()
        jax.block_until_ready(last)
        return (time.perf_counter() - start) / steps

    return timed


def measure(network: str, config: Config) -> tuple[list[list[Any]], dict[str, Any], list[str]]:
    """Return rows, rounds and notes of one network, up to the size at which a step takes too long."""
    rows, rounds, single, foreseen = [], {}, in_turn(network, config.batch_size), 0.0
    for before, members in zip((0, *config.members), config.members, strict=False):
        foreseen *= members / max(before, 1)
        if foreseen > config.limit:
            return (
                rows,
                rounds,
                [f"{network}: {members} members and more left out (over {config.limit:g} s a step)."],
            )
        turns = {"together": together(network, members, config.batch_size), "in turn": single(members)}
        rounds[str(members)] = times = alternate(turns, rounds=config.rounds, seconds=config.seconds)
        joint, apart = (summarise(times[name]).median for name in turns)
        foreseen, images = max(joint, apart), members * config.batch_size
        rows.append([network, members, images / joint, images / apart, members / joint, members / apart,
                     ratio(apart, joint)])  # fmt: skip
        print(f"{network} {members}: {images / joint:,.0f} against {images / apart:,.0f} images/s", file=sys.stderr)
    return rows, rounds, []


def main(config: Config) -> None:
    watch, rows, rounds, notes = Watch(), [], {}, []
    for network in config.networks:
        more, rounds[network], said = measure(network, config)
        rows, notes = rows + more, notes + said
    record = {
        "title": f"Members together and in turn, batch {config.batch_size} a member, float32",
        "columns": COLUMNS,
        "rows": rows,
        "notes": [*notes, "Each member has its own parameters and its own batch."],
        "environment": environment() | watch.read(),
        "rounds": rounds,
    }
    write(config.out, "members", record)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
