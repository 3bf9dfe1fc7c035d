"""Store results of experiments in docs/results and write the tables of index.md.

python docs/results/tables.py                      rewrite the tables from the stored results
python docs/results/tables.py runs/lenet_mnist     store single networks: summaries, records and predictions of the runs
python docs/results/tables.py runs/deep_vs_wide    store a study: its records, predictions, report and figures
python docs/results/tables.py runs/fashion_8x8     store a page that joins several studies, and these studies
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from jaxcnn.study.statistics.seeds import welch

HERE = Path(__file__).parent
MARK = "<!-- made by docs/results/tables.py -->"
STUDIES = "<!-- studies, by docs/results/tables.py -->"
WITHDRAWN = "<!-- withdrawn studies, by docs/results/tables.py -->"
RECORDS = "<!-- records of the studies, by docs/results/tables.py -->"
LAST = "<!-- last batches, by docs/results/tables.py -->"
REGULARISED = "<!-- regularisation, by docs/results/tables.py -->"
SHORT = "<!-- regularisation in six epochs, by docs/results/tables.py -->"
OBJECTS = "<!-- boxes and masks, by docs/results/tables.py -->"
NAMES = ("lenet_mnist", "fashion_cnn", "emnist_cnn", "resnet_cifar10")
LAST_BATCHES = ("last_batch", "last_batch_digits")
# Networks that say where things are, and what the table shows of them: names of metrics.
MEASURES = {
    "localize_raccoon": {"mean_iou": "mean IoU"},
    "detect_cells": {"AP50": "AP50", "AP": "AP"},
    "segment_streets": {"mean_iou": "mean IoU", "accuracy": "pixels right"},
    "segment_membranes": {"accuracy": "pixels right", "mean_iou": "mean IoU"},
    "nuclei": {"instance_ap": "TP / (TP + FP + FN)", "PQ": "PQ"},
}
KINDS = ("none", "L2", "dropout", "norm", "all")
# What `jaxcnn verify DIR` reads of a run, and its summary over seeds.
RUN = (
    "config.json",
    "data.json",
    "environment.json",
    "metrics.jsonl",
    "result.json",
    "predictions.npz",
    "summary.json",
)
# What `jaxcnn report DIR` reads and writes, without the HTML pages, which the command rebuilds.
STUDY = ("plan.json", "tuning.json", "pilot.json", "runs.json", "costs.json", "predictions.npz", "analysis.json",
         "report.md", "runs.csv", "joined.md", "joined.json", "journal.jsonl")  # fmt: skip


def row(name: str, summary: dict) -> str:
    """Return one experiment as a row of the table."""
    accuracy, validation = summary["metrics"]["test_accuracy"], summary["metrics"]["validation_accuracy"]
    runs = ", ".join(f"{100 * value:.2f}" for value in accuracy["runs"])
    minutes = sum(seconds["total"] for seconds in summary["seconds"]) / 60
    step = sorted(seconds["step"] for seconds in summary["seconds"])[len(summary["seconds"]) // 2]
    return (
        f"| `{name}.py` | {summary['data']['name']} | {summary['params']:,} | {summary['macs']:,} "
        f"| {100 * validation['mean']:.2f} | **{100 * accuracy['mean']:.2f}** ± {100 * accuracy['sd']:.2f} | {runs} "
        f"| {1000 * step:.0f} | {minutes:.0f} |"
    )


def summaries(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the stored summaries below some folders by their names."""
    files = [file for name in names for file in sorted((HERE / name).rglob("summary.json"))]
    return {file.parent.relative_to(HERE).as_posix(): json.loads(file.read_text()) for file in files}


def place(summary: dict[str, Any]) -> str:
    """Return the machine, versions and code of a summary in words."""
    about = summary["environment"]
    return (
        f"{about['processor']}, {about['cores']} core{'s' * (about['cores'] > 1)}, jax {about['versions']['jax']}, "
        f"float32, code `{about['revision'][:10]}`"
    )


def table() -> str:
    """Return the table of the single networks."""
    stored = summaries(NAMES)
    head = "| script | data | params | MACs | validation % | test %, mean ± sd | each seed | ms a step | min |"
    lines = [head, "|:---|:---|---:|---:|---:|---:|:---|---:|---:|", *(row(name, s) for name, s in stored.items())]
    return "\n".join([*lines, "", "Measured on: " + "; ".join(sorted(set(map(place, stored.values())))) + "."])


def objects() -> str:
    """Return the table of networks that say where things are: a line for each measure."""
    lines = [
        "| network | data | pixels | params | measure | validation % | test %, mean ± sd | each seed | min a seed |",
        "|:---|:---|:---|---:|:---|---:|---:|:---|---:|",
    ]
    stored = {name: summaries((name,)) for name in MEASURES}
    for script, found in stored.items():
        for name, summary in found.items():
            first = json.loads((HERE / name / f"seed{summary['seeds'][0]}" / "data.json").read_text())
            height, width, _ = first["image_shape"]
            minutes = sum(seconds["total"] for seconds in summary["seconds"]) / 60 / len(summary["seconds"])
            for key, words in MEASURES[script].items():
                test, validation = (summary["metrics"][f"{split}_{key}"] for split in ("test", "validation"))
                runs = ", ".join(f"{100 * value:.1f}" for value in test["runs"])
                lines.append(
                    f"| `{name}` | {summary['data']['name']} | {height} × {width} | {summary['params']:,} | {words} "
                    f"| {100 * validation['mean']:.1f} | **{100 * test['mean']:.1f}** ± {100 * test['sd']:.1f} "
                    f"| {runs} | {minutes:.0f} |"
                )
    places = {place(summary) for found in stored.values() for summary in found.values()}
    return "\n".join([*lines, "", "Measured on: " + "; ".join(sorted(places)) + "."])


def last_batches() -> str:
    """Return the test errors with full and with even batches by number of training images."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    stored = summaries(LAST_BATCHES)
    for name, summary in stored.items():
        size, kind = name.split("/")[1].split("_")
        accuracy = summary["metrics"]["test_accuracy"]
        cell = f"{100 - 100 * accuracy['mean']:.1f} ({100 * accuracy['sd']:.1f})"
        cells.setdefault((summary["data"]["name"], f"{int(size):,}"), {})[kind] = cell
    lines = ["| data, training images | full batches | even batches |", "|:---|---:|---:|"]
    lines += [f"| {data}, {size} | {each['full']} | {each['even']} |" for (data, size), each in cells.items()]
    return "\n".join([*lines, "", "Measured on: " + "; ".join(sorted(set(map(place, stored.values())))) + "."])


def regularised(folder: str) -> str:
    """Return the errors of each kind of regularisation, and the difference from none with its interval over seeds."""
    stored = summaries(tuple(f"{folder}/{kind}" for kind in KINDS))
    lines = [
        "| kind | parameters | training error % | validation error % | test error %, mean ± sd | minus none, points |",
        "|:---|---:|---:|---:|---:|---:|",
    ]
    tests = {kind: each["metrics"]["test_accuracy"] for kind, each in zip(KINDS, stored.values(), strict=True)}
    for kind, each in zip(KINDS, stored.values(), strict=True):
        train, validation = (100 - 100 * each["metrics"][f"{s}_accuracy"]["mean"] for s in ("train", "validation"))
        # Fewer errors are more right answers: none minus the kind. The four intervals hold together at 95 %.
        gain = welch(tests["none"]["runs"], tests[kind]["runs"], confidence=1 - 0.05 / (len(KINDS) - 1))[0]
        test = f"**{100 - 100 * tests[kind]['mean']:.2f}** ± {100 * tests[kind]['sd']:.2f}"
        more = "" if kind == "none" else points(gain._asdict())
        lines.append(f"| {kind} | {each['params']:,} | {train:.2f} | {validation:.2f} | {test} | {more} |")
    return "\n".join([*lines, "", "Measured on: " + "; ".join(sorted(set(map(place, stored.values())))) + "."])


def points(interval: dict) -> str:
    """Format an estimate and its limits in percentage points."""
    estimate, low, high = (f"{100 * interval[name]:+.2f}".replace("-", "−") for name in ("estimate", "low", "high"))
    return f"{estimate} ({low} to {high})"


def withdrawn(folder: Path) -> bool:
    """Return whether a study's environments name neither an installed version of jaxcnn nor a commit."""
    environments = json.loads((folder / "runs.json").read_text())["environments"]
    return any(each["versions"]["jaxcnn"] == "missing" and not each.get("revision") for each in environments)


def records() -> str:
    """Return what each study consists of: trials, runs, images, machine and code, counted in its files."""
    lines = [
        "| study | tuning trials | runs | training, validation, test images | pixels | ran on | jax | code |",
        "|:---|---:|---:|:---|:---|:---|:---|:---|",
    ]
    for file in sorted(HERE.rglob("runs.json")):
        stored, name = json.loads(file.read_text()), file.parent.relative_to(HERE).as_posix()
        arms = json.loads((file.parent / "tuning.json").read_text())["arms"].values()
        sizes, (height, width, _) = stored["data"]["sizes"], stored["data"]["image_shape"]
        first = stored["environments"][0]
        device = first["processor"] if first["platform"] == "cpu" else first["devices"][0]
        images = ", ".join(f"{sizes[split]:,}" for split in ("train", "validation", "test"))
        version = first["versions"]["jaxcnn"].replace("missing", "not recorded")
        code = f"`{first['revision'][:10]}`" if first.get("revision") else version
        lines.append(
            f"| {name} | {sum(len(arm['trials']) for arm in arms)} | {len(stored['runs'])} | {images} "
            f"| {height} × {width} | {device} | {first['versions']['jax']} | {code} |"
        )
    return "\n".join(lines)


def studies(*, shown: bool) -> str:
    """Return the table of the stored studies, one row per budget: those that stand, or those that are withdrawn."""
    lines = [
        "| study | budget | rule | depths | verdict | deeper minus wider | at the shared setting | best fitted depth |",
        "|:---|:---|:---|:---|:---|---:|:---|---:|",
    ]
    for file in sorted(HERE.rglob("analysis.json")):
        if withdrawn(file.parent) is shown:
            continue
        found, plan = json.loads(file.read_text()), json.loads((file.parent / "plan.json").read_text())
        rule = (
            f"`{plan['rule'] if 'rule_text' in plan else 'ends-holm-1'}`"  # the first plans hold the rule's text alone
        )
        shared = {each["budget"]: each["decision"] for each in found["shared"]}
        fits = {trend["budget"]: trend["fit"] for trend in found["trends"]}
        name = file.parent.relative_to(HERE).as_posix()
        for contrast in found["contrasts"]:
            budget, fit = contrast["budget"], fits[contrast["budget"]]
            where = " (this test set)" if contrast["scope"] == "test set" else ""
            best = "at an end" if fit["edge"] else f"{fit['optimum']:.0f} ({fit['low']:.0f} to {fit['high']:.0f})"
            ends = f"{contrast['wider']['depth']}, {contrast['deeper']['depth']}"
            lines.append(
                f"| [{name}]({name}/report.md) | {budget} | {rule} | {ends} | **{contrast['decision']}**{where} "
                f"| {points(contrast['population'])} | {shared.get(budget, '')} | {best} |"
            )
    return "\n".join(lines)


def replace_between(page: str, mark: str, content: str) -> str:
    """Replace what is between two marks of a page."""
    before, _, after = page.split(mark)
    return f"{before}{mark}\n\n{content}\n\n{mark}{after}"


def store(folder: Path, target: Path) -> None:
    """Store a study, or a page that joins the studies below it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / "figures", target / "figures", ignore=shutil.ignore_patterns("*.png"))
    for name in STUDY:
        if (folder / name).exists():
            shutil.copyfile(folder / name, target / name)
    for each in sorted(folder.iterdir()):
        if (each / "plan.json").exists():
            store(each, target / each.name)


def store_runs(folder: Path, target: Path) -> None:
    """Store the runs below a folder without their checkpoints."""
    shutil.rmtree(target, ignore_errors=True)
    for name in RUN:
        for file in folder.rglob(name):
            copy = target / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def fill(text: str) -> str:
    """Return the page with the tables of the stored results."""
    contents = {
        MARK: table(), LAST: last_batches(), STUDIES: studies(shown=True), WITHDRAWN: studies(shown=False),
        RECORDS: records(), REGULARISED: regularised("regularisation"),
        SHORT: regularised("regularisation_six_epochs"), OBJECTS: objects(),
    }  # fmt: skip
    for mark, content in contents.items():
        text = replace_between(text, mark, content)
    return text


def main() -> None:
    """Store the folders named on the command line, then write the tables."""
    for folder in map(Path, sys.argv[1:]):
        study = (folder / "plan.json").exists() or (folder / "joined.json").exists()
        (store if study else store_runs)(folder, HERE / folder.name)
    page = HERE / "index.md"
    page.write_text(fill(page.read_text()))


if __name__ == "__main__":
    main()
