"""Generate bad inputs and try them: is each refused in one sentence, and is nothing lost?

Question: wrong flags, values, paths, images, arrays, runs, checkpoints, configurations and studies: is there a
traceback, a lost or changed file, damage that goes unnoticed?
Runtime: 10 minutes for 1,000 inputs on two cores.
Expected: docs/reliability.md: no fault. `--only 17 --seed 0` tries one input and shows its output.
Each input has a process of its own, forked from one that has imported jaxcnn; every twentieth is started as a user
starts it. The same command resumes an interrupted campaign. Linux only.

    python -m tests.campaigns.inputs --inputs 1000 --out runs/inputs
"""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.cli import launch
from tests.campaigns.attempt import KINDS, Settings, attempts
from tests.campaigns.campaign import append, open_campaign, write_table
from tests.campaigns.outcome import ACCEPTED, OUTCOMES, PARSER, REFUSED, WARNED, WORKING, snapshot
from tests.campaigns.scene import make_templates

SEPARATE = 20
"""One input in so many is started as a user starts it."""


@dataclass(frozen=True)
class Config:
    """Bad inputs.

    Args:
        inputs: Number of inputs.
        seed: Seed of the generators: an input is a function of the seed and its number.
        workers: Number of inputs that are tried at a time.
        only: Try these numbers only and show their output; nothing is recorded.
        out: Folder of the campaign.
    """

    inputs: int = 1000
    seed: int = 0
    workers: int = 2
    only: tuple[int, ...] = ()
    out: Path = Path("runs/reliability/inputs")


SMOKE = Config(inputs=10, workers=1, out=Path("runs/reliability_smoke/inputs"))


def main(config: Config) -> None:
    """Try all inputs that have no result yet, then write the table."""
    settings = Settings(config.seed, config.out.resolve())
    results = [] if config.only else open_campaign(config.out, {"seed": config.seed})
    templates = settings.out / "templates"
    make_templates(templates, settings.out / "cache")
    if config.only:
        for row in attempts([(number, False) for number in config.only], settings, 1):
            print(json.dumps(row, indent=2, ensure_ascii=False))
        return
    before, tried = snapshot(templates), {row["number"] for row in results}
    inputs = [(number, number % SEPARATE == 7) for number in range(config.inputs) if number not in tried]
    for row in attempts(inputs, settings, config.workers):
        append(config.out, row)
        results.append(row)
        if row["outcome"] not in OUTCOMES:
            print(f"{row['number']} {row['kind']}, {row['about']}: {row['outcome']}", file=sys.stderr)
        if len(results) % 50 == 0:
            print(f"{len(results)}/{config.inputs} inputs", file=sys.stderr)
    changed = [name for name, content in snapshot(templates).items() if before.get(name) != content]
    report(config, sorted(results, key=lambda row: row["number"])[: config.inputs], changed)


def report(config: Config, results: list[dict[str, Any]], changed: list[str]) -> None:
    """Write the table, every fault and every accepted value; exit with code 1 where there is a fault."""
    bad = [row for row in results if row["outcome"] not in OUTCOMES]
    rows = [_row(kind, [row for row in results if row["kind"] == kind]) for kind in KINDS]
    rows = [*(row for row in rows if row[1]), _row("all", results)]
    columns = ["kind", "inputs", "refused in a sentence", "refused by the parser", "accepted, harmless",
               "accepted with a warning", "still working", "faults", "tracebacks",
               "files lost, moved or changed"]  # fmt: skip
    notes = [
        f"Seed {config.seed}; {sum(row['separate'] for row in results)} inputs as commands of their own.",
        "Accepted, harmless: what was damaged is not needed, or the result equals that of the undamaged input.",
        "Accepted with a warning: the result differs, and the warning says so and why.",
        "Still working: a valid but long task, stopped after 20 seconds.",
    ]
    if changed:
        notes.append(f"Changed outside the inputs' own folders, a fault: {', '.join(changed)}.")
    valid = {row["about"] for row in results if row["outcome"] == ACCEPTED and row["kind"].startswith("values")}
    write_table(config.out, "inputs", "Generated bad inputs", columns, rows, notes, faults=bad, accepted=sorted(valid))
    if bad or changed:
        raise SystemExit(1)


def _row(kind: str, results: list[dict[str, Any]]) -> list[Any]:
    outcomes = Counter(row["outcome"] if row["outcome"] in OUTCOMES else "fault" for row in results)
    traced = sum(row["outcome"].startswith("a traceback") for row in results)
    lost = sum(row["outcome"].startswith(("lost", "changed", "moved")) for row in results)
    known = [outcomes[outcome] for outcome in (REFUSED, PARSER, ACCEPTED, WARNED, WORKING)]
    return [kind, len(results), *known, outcomes["fault"], traced, lost]


if __name__ == "__main__":
    launch(main, Config, SMOKE)
