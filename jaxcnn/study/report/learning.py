"""What a report says of tuning and training: sensitivity, effort, the shared setting, fit beside test error."""

from __future__ import annotations

from jaxcnn.study.report.contrast_figures import outcome
from jaxcnn.study.report.document import Bullets, Heading, Paragraph, Table
from jaxcnn.study.report.error_figures import fitting_figure, learning_figure
from jaxcnn.study.report.numbers import at, decimals, effect, finding_of, percent, plural, setting, short, signed
from jaxcnn.study.report.sections import Part, Picture, numbered
from jaxcnn.study.report.style import chunks
from jaxcnn.study.report.tuning_figures import expected_figure, sensitivity_figure
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import ArmFinding, ContrastFinding, Findings


def tuning_section(result: StudyResult, findings: Findings) -> list[Part]:
    """Sensitivity to the learning rate, expected best, and the verdict at the shared setting."""
    tuned = result.tuned
    if not any(tuned.trials.values()):
        only = f"Nothing was tuned: all arms share one setting ({setting(tuned.shared)}), chosen beforehand."
        return [Heading("Tuning"), Paragraph(only)]
    count = plural(len(next(iter(tuned.trials.values()))), "trial")
    text = f"Every arm had the same {count}, judged on validation images, with seeds that no reported run has. "
    parts: list[Part] = [Heading("Tuning"), Paragraph(f"{text}The test images were not opened.")]
    for name, title, arms in _by_arm(result, findings, "learning_rate"):
        trials = [tuned.trials[finding.arm.label] for finding in arms]
        caption = (
            f"{title}: validation error against learning rate. The ring marks the setting chosen for the arm, the "
            "dotted line the shared rate; a cross at the upper edge is a setting that diverged."
        )
        parts.append(Picture(name, sensitivity_figure(arms, trials, tuned.shared), caption))
    for number, budgets in enumerate(chunks(result.plan.budgets), start=1):
        caption = (
            "Best validation error to be expected after n trials drawn from the grid (Dodge et al. 2019). A curve that "
            "still falls says that more tuning would have found more; curves that cross, that the order of the arms "
            "hangs on the effort. A first trial that may diverge can lie above the panel."
        )
        parts.append(Picture(numbered("expected_best", number), expected_figure(findings, budgets), caption))
    return [*parts, *_edges(findings), *_shared(result, findings)]


def _by_arm(result: StudyResult, findings: Findings, name: str) -> list[tuple[str, str, list[ArmFinding]]]:
    """(file name, budget, arms) of figures with a panel an arm: one figure a budget, more where it has many arms."""
    groups = []
    for number, budget in enumerate(result.plan.budgets, start=1):
        for part, arms in enumerate(chunks(at(findings.arms, budget)), start=1):
            groups.append((numbered(f"{name}_{number}", part), budget, list(arms)))
    return groups


def _edges(findings: Findings) -> list[Part]:
    flagged = [f"{short(each.arm)} at {each.arm.budget_label}" for each in findings.arms if each.edge]
    lost = sum(each.diverged_trials for each in findings.arms)
    parts: list[Part] = []
    if flagged:
        text = "Best at the lowest or highest rate tried, so that a better one may lie beyond"
        parts.append(Paragraph(f"{text}: {'; '.join(flagged)}."))
    if lost:
        parts.append(Paragraph(f"{plural(lost, 'trial')} diverged; a setting that diverged counts as all wrong."))
    return parts


def _shared(result: StudyResult, findings: Findings) -> list[Part]:
    heading, shared = Heading("The verdict at one shared setting", 3), setting(result.tuned.shared)
    if not findings.shared:
        same = f"Tuning gave both arms of every contrast the shared setting ({shared}): there is nothing to compare."
        text = same if result.plan.tuning.shared else "By the plan, no contrast was run at one shared setting."
        return [heading, Paragraph(text)]
    rows = [
        (
            own.budget, effect(own.population), outcome(own), effect(same.population), outcome(same),
            "yes" if own.decision != same.decision else "no",
        )
        for own, same in zip(findings.contrasts, findings.shared, strict=True)
    ]  # fmt: skip
    header = (
        "budget", "difference, each arm tuned (points)", "decision", "difference, shared setting (points)", "decision",
        "does tuning change it?",
    )  # fmt: skip
    text = (
        f"The shared setting is the best on average over all arms: {shared}. Differences are deeper minus wider with "
        "95 % population intervals."
    )
    return [heading, Table(header, rows, words=True), Paragraph(text)]


def training_section(result: StudyResult, findings: Findings) -> list[Part]:
    """Training beside test: what cannot optimise, what does not generalise, and how each arm learned."""
    parts: list[Part] = [Heading("Training and test: cannot optimise, or does not generalise?")]
    for number, budgets in enumerate(chunks(result.plan.budgets), start=1):
        caption = (
            "Training and test error of the last epoch, means over seeds. Training error that rises with depth says "
            "that deeper arms are harder to optimise; a gap that grows, that they generalise less. Training error is "
            "taken while training, with whatever augmentation and dropout there is."
        )
        parts.append(Picture(numbered("training_vs_test", number), fitting_figure(findings, budgets), caption))
    parts.append(Bullets([_reading(findings, contrast) for contrast in findings.contrasts]))
    header = ("arm", "training loss", "test loss", "training error (%)", "test error (%)", "gap (points)")
    for budget in result.plan.budgets:
        rows = [
            (
                short(each.arm), decimals(each.train_loss, 4), decimals(each.test_loss, 4), percent(each.train_error),
                percent(each.test_error.estimate), signed(each.test_error.estimate - each.train_error),
            )
            for each in at(findings.arms, budget)
        ]  # fmt: skip
        parts.append(Table(header, rows, budget))
    parts.append(Heading("Learning curves", 3))
    for name, title, arms in _by_arm(result, findings, "learning_curves"):
        caption = f"{title}: loss by epoch, mean over seeds (thick, with markers) and every seed (thin)."
        runs = [result.of(each.arm) for each in arms]
        if any(run.diverged for found in runs for run in found):
            caption += " A mean ends where the first of its runs diverged."
        parts.append(Picture(name, learning_figure(arms, runs), caption))
    return parts


def _reading(findings: Findings, contrast: ContrastFinding) -> str:
    """Whether the arm that errs more on test images also errs more on its training images; a description, no test."""
    deeper, wider = (finding_of(findings.arms, arm) for arm in (contrast.deeper, contrast.wider))
    train = f"training error {percent(deeper.train_error)} % deeper, {percent(wider.train_error)} % wider"
    if contrast.decision not in ("deeper", "wider"):
        return f"{contrast.budget}: {train}; no difference in test error is claimed that this could explain."
    worse, better = (wider, deeper) if contrast.decision == "deeper" else (deeper, wider)
    name = "wider" if contrast.decision == "deeper" else "deeper"
    if worse.train_error > better.train_error:
        return f"{contrast.budget}: {train}; the {name} arm, which errs more, also fits its training images less well."
    return f"{contrast.budget}: {train}; the {name} arm errs more though it fits its training images no worse."
