"""Summary of a study: title, verdict, and the arms in numbers."""

from collections.abc import Iterator

from jaxcnn.pictures.document import Contents, Heading, Paragraph, table
from jaxcnn.pictures.style import Part
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import Findings
from jaxcnn.study.verdict.formatting import arm_name, effect, minus, percent, probability, short_name, span

TITLE = "Deeper or wider?"


def title(result: StudyResult) -> str:
    """Return the title of a study's report."""
    budgets = result.plan.budgets
    shown = " and ".join(budgets) if len(budgets) < 3 else f"{len(budgets)} budgets"
    question = TITLE if result.plan.sides == ("deeper", "wider") else f"{' or '.join(result.plan.sides)}?"
    return f"{question} {result.data['name']} at {shown}"


def verdict_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield the verdict, what would change it, and a table with a row per budget."""
    first, second = result.plan.sides
    retuned = any(each.retuned for each in findings.contrasts)
    covered = "new seeds, images and tuning" if retuned else "new seeds and images"
    covered = covered.replace("images", "training choices, images") if result.plan.resample_train else covered
    columns = (
        ("budget", lambda each: each.budget),
        ("decision (holds for)", lambda each: each.outcome),
        (f"{first} arm", lambda each: arm_name(each.deeper)),
        (f"{second} arm", lambda each: arm_name(each.wider)),
        (f"difference, {covered} (points)", lambda each: effect(each.population)),
        ("difference, new seeds, this test set (points)", lambda each: effect(each.fixed)),
    )
    yield Paragraph(findings.sentence, lead=True)
    yield Paragraph(findings.change)
    yield table(columns, findings.contrasts, f"{minus(result.plan.sides)}, by budget", words=True)
    if findings.between:
        inner = (
            ("budget", lambda each: each.budget),
            ("difference", lambda each: f"{short_name(each.deeper)} minus {short_name(each.wider)}"),
            ("points (95 % interval)", lambda each: effect(each.population)),
            ("p; after Holm", lambda each: f"{probability(each.population_p)}; {probability(each.population_holm)}"),
            ("decision", lambda each: each.decision),
        )
        chosen = "The middle depth" if result.plan.folds else "The best interior depth, by validation images,"
        yield table(inner, findings.between, f"{chosen} and the ends", words=True)
    error = f" Test error is {result.plan.measure.text} over all test images." * bool(result.plan.measure.text)
    yield Paragraph(
        f"Hypothesis, stated before the first run: {result.plan.hypothesis} Below zero the {first} arm errs less, "
        f"above zero the {second}; in brackets the 95 % interval. Differences below the margin of "
        f"{percent(result.plan.margin)} points do not matter here.{error}"
    )
    yield Contents()


def arm_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield the numbers of all arms, a table per budget."""
    columns = (
        *([("family", lambda each: each.arm.name)] if findings.arms[0].arm.name else []),
        ("depth", lambda each: str(each.arm.depth)),
        ("width", lambda each: each.arm.widths),
        ("learning rate", lambda each: f"{each.setting.learning_rate:g}{' (edge)' * each.edge}"),
        ("weight decay", lambda each: f"{each.setting.weight_decay:g}"),
        ("test error (%)", lambda each: percent(each.test_error.estimate)),
        ("95 % interval", lambda each: span(each.test_error)),
        ("validation error (%)", lambda each: percent(each.validation_error)),
        ("training error (%)", lambda each: percent(each.train_error)),
        ("runs", lambda each: f"{len(each.test_errors)}" + (f" ({each.diverged} diverged)" if each.diverged else "")),
    )
    yield Heading("The arms")
    for budget in result.plan.budgets:
        yield table(columns, findings.at(budget), budget)
    text = (
        "Errors are those of the last epoch, means over seeds, each arm at its own tuned setting. Widths are channels "
        "of the first stage, or of each stage where they were solved one by one for the budget."
    )
    if any(finding.edge for finding in findings.arms):
        also = " (or weight decay)" * (result.plan.tuning.method == "smooth")
        text += f" (edge): the best learning rate{also} was the lowest or highest tried."
    if any(finding.diverged for finding in findings.arms):
        text += " Runs that diverged have no finite loss at the end; their errors are included."
    if any(not finding.test_error.bounded for finding in findings.arms):
        text += " none: with one seed, or seeds that differ too much, no interval is narrower than all possible errors."
    yield Paragraph(text)
