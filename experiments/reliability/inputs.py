"""Generated bad inputs: is each refused in one sentence that names it and how to mend it, and is nothing lost?

Question: flags, values, paths, images, arrays, runs, checkpoints, configurations and studies that are wrong: is there a
traceback, a file lost or changed, damage taken for good?
Runtime: 10 minutes for 1,000 inputs on two cores.
Expected: docs/reliability.md: no fault. `--only 17 --seed 0` tries one input again and shows what it said.
The command line is called within worker processes, every twentieth input as a process of its own, and so is every input
that shows a fault, once more. Started again, the campaign goes on. Linux.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign import append, begin, write_record
from judging import ACCEPTED, OUTCOMES, PARSER, REFUSED, WARNED, WORKING, snapshot
from scenes import make_templates
from trying import KINDS, Settings, results

from jaxcnn.cli import launch

APART = 20


@dataclass(frozen=True)
class Config:
    """Bad inputs.

    Args:
        inputs: How many.
        seed: Of what is generated: an input is a function of the seed and its number.
        workers: Processes that try them.
        only: Try these numbers only, and show what they said; nothing is recorded.
        out: Folder; the same command goes on where an interrupted one stopped.
    """

    inputs: int = 1000
    seed: int = 0
    workers: int = 2
    only: tuple[int, ...] = ()
    out: Path = Path("runs/reliability/inputs")


SMOKE = Config(inputs=10, workers=1, out=Path("runs/reliability_smoke/inputs"))


def main(config: Config) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    settings, console = Settings(config.seed, config.out.resolve()), Console(stderr=True)
    done = [] if config.only else begin(config.out, {"seed": config.seed})
    make_templates(settings.out / "templates", settings.out / "cache")
    if config.only:
        for row in results([(number, False) for number in config.only], settings, 1):
            console.print_json(data=row)
        return
    held, tried = snapshot(settings.out / "templates"), {row["number"] for row in done}
    todo = [(number, number % APART == 7) for number in range(config.inputs) if number not in tried]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("inputs", total=config.inputs, completed=len(done))
        for row in results(todo, settings, config.workers):
            append(config.out, row)
            done.append(row)
            faults = sum(row["outcome"] not in OUTCOMES for row in done)
            bar.update(task, completed=len(done), description=f"inputs, {faults} faults")
            if row["outcome"] not in OUTCOMES:
                bar.console.print(f"{row['number']} {row['kind']}, {row['about']}: {row['outcome']}", markup=False)
    changed = [name for name, what in snapshot(settings.out / "templates").items() if held.get(name) != what]
    report(config, sorted(done, key=lambda row: row["number"])[: config.inputs], changed)


def report(config: Config, done: list[dict[str, Any]], changed: list[str]) -> None:
    """Write the table, the faults one by one, and what was accepted; exit with 1 where there is a fault."""
    bad = [row for row in done if row["outcome"] not in OUTCOMES]
    rows = [_row(kind, [row for row in done if row["kind"] == kind]) for kind in KINDS]
    rows = [*(row for row in rows if row[1]), _row("all", done)]
    columns = ["kind", "inputs", "refused in a sentence", "refused by the parser", "accepted, harmless"]
    columns += ["accepted with a warning", "still at work", "faults", "tracebacks", "files lost, moved or changed"]
    notes = [
        f"Seed {config.seed}; {sum(row['apart'] for row in done)} inputs as processes of their own.",
        "Accepted, harmless: what was damaged is not needed, or the result is equal to that of an undamaged input.",
        "Accepted with a warning: it gave another result, and said that and why.",
        "Still at work: what was asked for is no error, but would take longer than the 20 seconds it was given.",
    ]
    if changed:
        notes.append(f"Changed outside the inputs' own folders, a fault: {', '.join(changed)}.")
    taken = Counter(row["about"] for row in done if row["outcome"] == ACCEPTED and row["kind"].startswith("values"))
    write_record(config.out, "inputs", "Generated bad inputs", columns, rows, notes, faults=bad, accepted=sorted(taken))
    if bad or changed:
        raise SystemExit(1)


def _row(kind: str, done: list[dict[str, Any]]) -> list[Any]:
    outcomes = Counter(row["outcome"] if row["outcome"] in OUTCOMES else "fault" for row in done)
    traced = sum(row["outcome"].startswith("a traceback") for row in done)
    lost = sum(row["outcome"].startswith(("lost", "changed", "moved")) for row in done)
    known = [outcomes[outcome] for outcome in (REFUSED, PARSER, ACCEPTED, WARNED, WORKING)]
    return [kind, len(done), *known, outcomes["fault"], traced, lost]


if __name__ == "__main__":
    launch(main, Config, SMOKE, onednn=False)
