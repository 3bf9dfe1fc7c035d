"""`jaxcnn report STUDY --explain`: measured once from the kept weights, kept beside the study, read in words."""

import json

import numpy as np
import pytest

from jaxcnn.cli import main
from jaxcnn.errors import InputError
from jaxcnn.run.predict import evaluate_run
from jaxcnn.study import analyse, explain_study, load_study, write_report
from jaxcnn.study.explanation import (
    BudgetExplanation,
    Explanation,
    conclusion,
    read_explanation,
    runs_digest,
    write_explanation,
)
from tests.study.planted import planted_study

ERRORS = {8: (0.05, 0.0525, 0.0475), 14: (0.03, 0.0325, 0.0275), 20: (0.01, 0.0125, 0.0125)}
SEEDS = 2


@pytest.fixture
def planted(tmp_path):
    """A finished study, whose deepest arm is best, without its runs."""
    return planted_study(tmp_path / "study", ERRORS)


def record(layers, value):
    by_layer = {f"conv{n}": value for n in range(layers)}
    names = ("gradient_norm", "dead_share", "probe_accuracy", "effective_field")
    fields = {"field": {name: [9, 9] for name in by_layer}, "sharpness": 12.5, "test_accuracy": 0.9}
    return dict.fromkeys(names, by_layer) | fields


def explanation(result, deeper=(0.001, 0.002), wider=(0.03, 0.031)):
    """An explanation as if 5 and 3 layers of two seeds had been measured; one layer of the wider arm is dead."""
    layers = {"deeper": 5, "wider": 3}
    networks = [(side, seed) for side in layers for seed in range(SEEDS)]
    pairs = []
    for n, one in enumerate(networks):
        for other in networks[n + 1 :]:
            cka = np.full((layers[one[0]], layers[other[0]]), 0.5)
            cka[-1] = np.nan if one[0] == "wider" else 0.5
            pairs.append({"first": one, "second": other, "error_consistency": 0.25, "cka": cka})
    arms = {side: [record(count, 0.5)] * SEEDS for side, count in layers.items()}
    errors = {"deeper": deeper, "wider": wider}
    budget = BudgetExplanation(result.plan.budgets[0], (0, 1), errors, {"arms": arms, "layers": {}, "pairs": pairs})
    return Explanation(runs_digest(result), (512, 512), 10_000, (budget,))


@pytest.mark.parametrize(
    ("deeper", "wider", "words"),
    [
        ((0.001, 0.002), (0.04, 0.041), "it cannot be optimised as well"),
        ((0.001, 0.002), (0.001, 0.002), "it does not generalise as well"),
        ((0.01, 0.05), (0.01, 0.07), "stays open"),
        ((0.001,), (0.04,), "stays open"),
    ],
)
def test_training_error_decides(planted, deeper, wider, words):
    made = explanation(planted, deeper, wider)
    contrast = analyse(planted).contrasts[0]
    assert contrast.decision == "deeper"
    text = conclusion(contrast, made.budgets[0], made.train_images)
    assert words in text
    assert f"The wider arm makes {-100 * contrast.population.estimate:.2f} points more test errors" in text


def test_without_a_difference_nothing_is_explained(tmp_path):
    result = planted_study(tmp_path, dict.fromkeys(ERRORS, (0.05, 0.0525, 0.0475)))
    made = explanation(result)
    text = conclusion(analyse(result).contrasts[0], made.budgets[0], made.train_images)
    assert text.endswith("No difference in test error is claimed that this could explain.")


@pytest.mark.slow
def test_the_report_has_the_section_once_it_was_made(planted):
    without = write_report(planted, planted.directory).read_text()
    assert ">Why<" not in without
    write_explanation(planted, explanation(planted))
    page = write_report(planted, planted.directory).read_text()
    assert ">Why<" in page
    assert "it cannot be optimised as well" in page
    for name in ("curves", "layers", "cka"):
        assert (planted.directory / "figures" / f"why_{name}_1.svg").exists()
    row = page.split("agreement of mistakes (kappa)")[1].split("</tr>")[0]
    assert row.count("0.25") == 3


def test_an_explanation_of_other_runs_does_not_count_and_a_damaged_one_is_refused(planted):
    write_explanation(planted, explanation(planted)._replace(predictions_sha256="0"))
    assert read_explanation(planted) is None
    write_explanation(planted, explanation(planted))
    assert read_explanation(planted) is not None
    path = planted.directory / "explanation.json"
    path.write_text(path.read_text().replace("0.25", "0.75"))
    with pytest.raises(InputError, match="--explain computes it again"):
        read_explanation(planted)


def test_a_study_without_weights_is_one_sentence(planted, capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", str(planted.directory), "--explain"])
    assert end.value.code == 2
    assert "keeps no weights of params30000_depth20" in capsys.readouterr().err


@pytest.mark.slow  # compiles a dozen programs for each of six networks
def test_it_is_measured_once_from_the_final_weights(copied, capsys):
    main(["report", str(copied), "--explain"])
    assert "looking into 6 networks" in capsys.readouterr().err
    study = load_study(copied)
    made = explain_study(copied)
    deeper, _ = study.plan.contrast(study.plan.budgets[0])
    runs = sorted((copied / "runs" / deeper.label).glob("*/seed*"))
    label = study.tuning.arms[deeper.label].setting.label
    own = [path for path in runs if path.parent.name == label]
    errors = [1 - evaluate_run(path, split="train")["accuracy"] for path in own]
    assert made.budgets[0].train_errors["deeper"] == pytest.approx(errors)
    assert len(made.budgets[0].measures["arms"]["deeper"]) == len(made.budgets[0].seeds) == len(own)
    before = (copied / "explanation.json").stat().st_mtime_ns
    main(["report", str(copied), "--explain"])
    assert (copied / "explanation.json").stat().st_mtime_ns == before
    assert json.loads((copied / "explanation.json").read_text())["images"] == [64, 320]
    assert ">Why<" in (copied / "report.html").read_text()
