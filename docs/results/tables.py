"""Store results of experiments in docs/results and write the tables of index.md.

python docs/results/tables.py                      rewrite the tables from the stored results
python docs/results/tables.py runs/lenet_mnist     store runs/lenet_mnist/summary.json first
python docs/results/tables.py runs/deep_vs_wide    store a study: its records, predictions, report and figures
python docs/results/tables.py runs/fashion_8x8     store a page that joins several studies, and these studies
"""

import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
MARK = "<!-- made by docs/results/tables.py -->"
STUDIES = "<!-- studies, by docs/results/tables.py -->"
WITHDRAWN = "<!-- withdrawn studies, by docs/results/tables.py -->"
RECORDS = "<!-- records of the studies, by docs/results/tables.py -->"
NAMES = ("lenet_mnist", "fashion_cnn", "emnist_cnn", "resnet_cifar10")
# What `jaxcnn report DIR` reads and writes, without the HTML pages, which the command rebuilds.
STUDY = ("plan.json", "tuning.json", "pilot.json", "runs.json", "costs.json", "predictions.npz", "analysis.json",
         "report.md", "joined.md", "joined.json", "journal.jsonl")  # fmt: skip


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


def table() -> str:
    """Return the table of all stored summaries."""
    stored = {
        name: json.loads((HERE / f"{name}.json").read_text()) for name in NAMES if (HERE / f"{name}.json").exists()
    }
    head = "| script | data | params | MACs | validation % | test %, mean ± sd | each seed | ms a step | min |"
    lines = [head, "|:---|:---|---:|---:|---:|---:|:---|---:|---:|", *(row(name, s) for name, s in stored.items())]
    places = sorted({f"{s['environment']['processor']}, {s['environment']['cores']} cores, jax "
                     f"{s['environment']['versions']['jax']}, float32" for s in stored.values()})  # fmt: skip
    return "\n".join([*lines, "", "Measured on: " + "; ".join(places) + "."])


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
        "| study | budget | depths | verdict | deeper minus wider | at the shared setting | best fitted depth |",
        "|:---|:---|:---|:---|---:|:---|---:|",
    ]
    for file in sorted(HERE.rglob("analysis.json")):
        if withdrawn(file.parent) is shown:
            continue
        found = json.loads(file.read_text())
        shared = {each["budget"]: each["decision"] for each in found["shared"]}
        fits = {trend["budget"]: trend["fit"] for trend in found["trends"]}
        name = file.parent.relative_to(HERE).as_posix()
        for contrast in found["contrasts"]:
            budget, fit = contrast["budget"], fits[contrast["budget"]]
            where = " (this test set)" if contrast["scope"] == "test set" else ""
            best = "at an end" if fit["edge"] else f"{fit['optimum']:.0f} ({fit['low']:.0f} to {fit['high']:.0f})"
            ends = f"{contrast['wider']['depth']}, {contrast['deeper']['depth']}"
            lines.append(
                f"| [{name}]({name}/report.md) | {budget} | {ends} | **{contrast['decision']}**{where} "
                f"| {points(contrast['population'])} | {shared.get(budget, 'the same')} | {best} |"
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


def main() -> None:
    """Store the folders named on the command line, then write the tables."""
    for folder in map(Path, sys.argv[1:]):
        if (folder / "plan.json").exists() or (folder / "joined.json").exists():
            store(folder, HERE / folder.name)
        else:
            shutil.copyfile(folder / "summary.json", HERE / f"{folder.name}.json")
    page = HERE / "index.md"
    text = page.read_text()
    for mark, content in (
        (MARK, table()),
        (STUDIES, studies(shown=True)),
        (WITHDRAWN, studies(shown=False)),
        (RECORDS, records()),
    ):
        text = replace_between(text, mark, content)
    page.write_text(text)


if __name__ == "__main__":
    main()
