"""What a report says of tuning and training: sensitivity, effort, the shared setting, fit beside test error."""

from __future__ import annotations

def training_section(result: StudyResult, findings: Findings) -> list[Part]:
    """Training beside test: what cannot optimise, what does not generalise, and how each arm learned."""
    parts: list[Part] = [Heading("Training and test: cannot optimise, or does not generalise?")]
    for number, budgets in enumerate(chunks(result.plan.budgets), start=1):
        name = "training_vs_test" if number == 1 else f"training_vs_test_{number}"
        caption = (
            "Training and test error of the last epoch, means over seeds. Where training error rises with depth, deeper "
            "arms cannot be optimised; where only the gap grows, they do not generalise. Training error is taken while "
            "training, with whatever augmentation and dropout there is."
        )
        parts.append(Picture(name, fitting_figure(findings, budgets), caption))
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
    for number, budget in enumerate(result.plan.budgets, start=1):
        groups = chunks(at(findings.arms, budget))
        for part, arms in enumerate(groups, start=1):
            name = f"learning_curves_{number}" + (f"_{part}" if len(groups) > 1 else "")
            caption = f"{budget}: loss by epoch, mean over seeds (thick, with markers) and every seed (thin)."
            runs = [result.of(each.arm) for each in arms]
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


def tuning_section(result: StudyResult, findings: Findings) -> list[Part]:
    """Sensitivity to the learning rate, expected best, and the verdict at the shared setting."""
    tuned = result.tuned
    parts: list[Part] = [Heading("Tuning")]
    if not any(tuned.trials.values()):
        only = setting(tuned.shared)
        return [*parts, Paragraph(f"Nothing was tuned: all arms share one setting ({only}), chosen beforehand.")]
    first = next(iter(tuned.trials.values()))
    parts.append(
        Paragraph(
            f"Every arm had the same {plural(len(first), 'trial')}, judged on validation images, with seeds that no "
            "reported run has. The test images were not opened."
        )
    )
    for number, budget in enumerate(result.plan.budgets, start=1):
        groups = chunks(at(findings.arms, budget))
        for part, arms in enumerate(groups, start=1):
            name = f"learning_rate_{number}" + (f"_{part}" if len(groups) > 1 else "")
            trials = [tuned.trials[finding.arm.label] for finding in arms]
            caption = (
                f"{budget}: validation error against learning rate. The ring marks the setting chosen for the arm; a "
                "cross at the upper edge is a setting that diverged."
            )
            parts.append(Picture(name, sensitivity_figure(arms, trials, tuned.shared), caption))
    for number, budgets in enumerate(chunks(result.plan.budgets), start=1):
        name = "expected_best" if number == 1 else f"expected_best_{number}"
        caption = (
            "Best validation error to be expected after n trials drawn from the grid (Dodge et al. 2019): curves that "
            "still fall say that more tuning would have found more, curves that cross that the order of the arms hangs "
            "on the effort."
        )
        parts.append(Picture(name, expected_figure(findings, budgets), caption))
    return [*parts, *_edges(findings), *_shared(result, findings)]


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
    heading, shared = Heading("The verdict at one shared setting", 3), result.tuned.shared
    if not findings.shared:
        if result.plan.tuning.shared:
            text = f"Tuning gave both arms of every contrast the shared setting ({setting(shared)}): nothing to compare."
        else:
            text = "The contrasts were not run at one shared setting, by the plan."
        return [heading, Paragraph(text)]
    rows = [
        (
            own.budget,
            f"deeper {setting(own.settings[0])}; wider {setting(own.settings[1])}",
            effect(own.population),
            outcome(own),
            effect(same.population),
            outcome(same),
            "yes" if own.decision != same.decision else "no",
        )
        for own, same in zip(findings.contrasts, findings.shared, strict=True)
    ]
    header = (
        "budget", "own settings", "difference, each tuned (points)", "decision", "difference, shared (points)",
        "decision", "does tuning change it?",
    )  # fmt: skip
    text = f"The shared setting is the best on average over all arms: {setting(shared)}."
    return [heading, Table(header, rows, words=True), Paragraph(text)]


