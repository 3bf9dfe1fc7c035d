"""The plan of a study: settings, arms, contrasts and the rule of the verdict, declared before its first run.

plan.json holds it, sealed, written once and never changed; its hash is the identity of the study.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError, similar_paths
from jaxcnn.records import as_record, check_choices, differences, flat, from_record, shortened
from jaxcnn.runtime.environment import now, revision
from jaxcnn.runtime.files import holds_files, read_sealed, seal, write_sealed
from jaxcnn.spec import BUDGETS, NOT_IDENTITY, DataConfig, StudyConfig, Tuning, identity
from jaxcnn.study.arm import LARGEST_BUDGET, Arm
from jaxcnn.study.measure import Measure, measure_of
from jaxcnn.study.rule import RETUNED, rule_for, rule_named
from jaxcnn.study.tuning import SEEDS_EACH

LARGEST_RUNS, LARGEST_EXTENSIONS = 10_000, 100
FORMAT = "jaxcnn study plan 4"
FORMER_FORMATS = ("jaxcnn study plan 3", "jaxcnn study plan 2")
"""Format 3: tuning of method grid only. Format 2 had no `study`, and the rule as text."""
FILE = "plan.json"
REMEDY = "restore it, or begin a new study in a new folder: a plan is never changed"


@dataclass(frozen=True)
class Plan(StudyConfig):
    """A study as declared; its depths and budgets are those of its arms."""

    arms: tuple[Arm, ...] = ()  #: The networks compared, budget by budget.
    #: Identifier of the rule that turns contrasts into the verdict (`jaxcnn.study.rule.RULES`).
    rule: str = RETUNED
    command: str = ""  #: Command line that started the study; not part of its identity.
    own: tuple[str, ...] = ()  #: User-defined parts of all runs beside the families: "tx=module:function", ...

    def __post_init__(self) -> None:
        """Take depths and budgets from the arms."""
        object.__setattr__(self, "depths", tuple(dict.fromkeys(arm.depth for arm in self.arms)))
        for kind in BUDGETS:
            amounts = dict.fromkeys(arm.budget for arm in self.arms if arm.kind == kind)
            object.__setattr__(self, kind, tuple(amounts))

    @property
    def budgets(self) -> tuple[str, ...]:
        """Budgets in words, in the order of the arms."""
        return tuple(dict.fromkeys(arm.budget_label for arm in self.arms))

    @property
    def parts(self) -> tuple[int | None, ...]:
        """Numbers of the folds; (None,) without cross-validation."""
        return tuple(range(self.folds)) if self.folds else (None,)

    def images(self, fold: int | None) -> DataConfig:
        """Return the images of one fold; without cross-validation those of all runs."""
        return self.base.data if fold is None else replace(self.base.data, fold=(fold, self.folds, self.seeds.first))

    def fold_of(self, seed: int) -> int | None:
        """Return the number of the fold of a reported run by its seed; None without cross-validation."""
        return (seed - self.seeds.first) % self.folds if self.folds else None

    @property
    def families(self) -> bool:
        """Whether two families are compared instead of depths."""
        return rule_named(self.rule).families

    @property
    def measure(self) -> Measure:
        """The error that is compared, as the task has it."""
        return measure_of(self.base.task.kind)

    @property
    def sides(self) -> tuple[str, str]:
        """What the verdict compares: deeper and wider, or the names of two families in the order of the arms."""
        names = list(dict.fromkeys(arm.name for arm in self.arms))
        return (names[0], names[1]) if self.families else ("deeper", "wider")

    def of(self, budget: str) -> tuple[Arm, ...]:
        """Return the arms of one budget, the shallowest first; those of two families in the order of the families."""
        arms = (arm for arm in self.arms if arm.budget_label == budget)
        if self.families:
            return tuple(sorted(arms, key=lambda arm: self.sides.index(arm.name)))
        return tuple(sorted(arms, key=lambda arm: (arm.depth, -arm.width)))

    def contrast(self, budget: str) -> tuple[Arm, Arm]:
        """Return (deeper, wider): the arms that the verdict compares, chosen by depth and width alone.

        Of two families these are the arms of the first and of the second.
        """
        arms = self.of(budget)
        if self.families:
            return arms[0], arms[1]
        deepest = max(arm.depth for arm in arms)
        return min((a for a in arms if a.depth == deepest), key=lambda a: a.width), arms[0]


def make_plan(config: StudyConfig, arms: Iterable[Arm], *, command: str = "", own: tuple[str, ...] = ()) -> Plan:
    """Declare a study.

    Args:
        config: Its settings. An empty hypothesis becomes the project's question with the numbers of the arms.
        arms: At least two depths at every budget, every arm once. Or one arm of each of two families at every budget:
            then the verdict compares the families.
        command: Command line, for the report.
        own: Names of user-defined parts of all runs.

    Returns:
        The plan; its contrasts follow from depth and width alone, or from the order of the families.

    Raises:
        InputError: A setting or an arm that no study can have.

    >>> plan = make_plan(StudyConfig(), match_widths(StudyConfig()))  # doctest: +SKIP
    """
    for name, instead in (("split_seed", ""), ("fold", "folds"), ("train_seed", "resample_train")):
        if (given := getattr(config.base.data, name)) is not None:
            remedy = f"give {instead}" if instead else "leave it out"
            raise InputError(f"base.data.{name}={given}: a study divides its images itself; {remedy}")
    rates, name = config.tuning.learning_rates, config.base.optimizer.name
    if name == "adam" and rates == Tuning().learning_rates:
        text = " ".join(f"{rate / 100:.6g}" for rate in rates)
        raise InputError(f"tuning.learning_rates={rates}: the default is for sgd; with {name} give, say, {text}")
    settings = {each.name: getattr(config, each.name) for each in fields(StudyConfig)}
    arms = tuple(arms)
    if names := family_names(arms):
        arms = tuple(arm._replace(name=names[arm.family]) for arm in arms)
    settings["rule"] = rule_for(config.tuning.method, families=bool(names), folds=bool(config.folds))
    if config.folds:
        runs = config.folds * config.repeats
        settings["seeds"] = replace(config.seeds, pilot=runs, cap=runs)
        settings["tuning"] = replace(config.tuning, shared=False)
    plan = Plan(**settings, arms=arms, command=command, own=own)
    check_plan(plan)
    if plan.hypothesis:
        return plan
    networks, ends = f"{plan.arms[0].family} networks", "the deepest and the widest"
    if names:
        networks, ends = "networks", " and ".join(plan.sides)
    error = " ".join(("test error", f"({plan.measure.text})" if plan.measure.text else "")).strip()
    question = f"On {plan.base.data.name}, {networks} of {' and '.join(plan.budgets)}: {ends} differ in {error}."
    return replace(plan, hypothesis=question)


def family_names(arms: tuple[Arm, ...]) -> dict[str, str]:
    """Return short names of two families that a study compares, one arm of each at every budget; else nothing.

    Raises:
        InputError: Two functions with one name.
    """
    families = list(dict.fromkeys(arm.family for arm in arms))
    budgets = {(arm.kind, arm.budget) for arm in arms}
    pairs = sorted((arm.kind, arm.budget, arm.family) for arm in arms)
    if len(families) != 2 or pairs != sorted((*budget, family) for budget in budgets for family in families):
        return {}
    for cut in (lambda family: family.rpartition(":")[2], lambda family: family):
        names = [re.sub(r"[^\w.-]+", "_", cut(family)).strip("_") for family in families]
        if names[0] != names[1]:
            return dict(zip(families, names, strict=True))
    raise InputError(f"arms are of two families called {families[0]}: define them as functions with names of their own")


def check_plan(plan: Plan) -> None:
    """Refuse what no study can have.

    Raises:
        InputError: The message names the field and its value.
    """
    rule_named(plan.rule)
    check_settings(plan)
    _check_arms(plan)


def check_settings(config: StudyConfig) -> None:
    """Refuse settings that no study can have, whatever its arms are.

    Raises:
        InputError: The message names the field and its value.
    """
    check_choices(config)
    measure = measure_of(config.base.task.kind)
    _check_tuning(config)
    if config.folds is not None and not (config.folds >= 2 and config.repeats >= 1):
        raise InputError(f"folds={config.folds}, repeats={config.repeats}: needs 2 or more folds and 1 or more repeats")
    if config.folds is None and config.repeats != StudyConfig.repeats:
        raise InputError(f"repeats={config.repeats}: it is for cross-validation; give folds, too, or leave it out")
    if config.folds and config.folds * config.repeats > LARGEST_RUNS:
        given = f"folds={config.folds}, repeats={config.repeats}"
        raise InputError(f"{given}: {config.folds * config.repeats:,} runs per arm, of at most {LARGEST_RUNS:,}")
    if config.folds and not measure.counts_images:
        raise InputError(f"folds={config.folds}: cross-validation is for classifiers; leave it out")
    if config.folds and config.tuning.method != "smooth":
        raise InputError(f"tuning.method={config.tuning.method!r}: with folds only smooth is possible; leave it out")
    if config.resample_train and config.base.data.train_size is None:
        name = "base.data.train_size"
        raise InputError(f"resample_train=True: it chooses {name} training images anew for every run; give {name}")
    seeds, reported = config.seeds, range(config.seeds.first, config.seeds.first + config.seeds.cap)
    if not 0 < config.margin < 1:
        raise InputError(f"margin={config.margin}: give a share of the test images between 0 and 1, such as 0.005")
    if not (1 <= seeds.pilot <= seeds.cap <= LARGEST_RUNS and seeds.first >= 0):
        given = f"seeds.pilot={seeds.pilot}, seeds.cap={seeds.cap}, seeds.first={seeds.first}"
        raise InputError(f"{given}: needs 1 <= pilot <= cap <= {LARGEST_RUNS} and first >= 0")
    scale = SEEDS_EACH if config.tuning.method == "smooth" else 1
    if max(seeds.first + seeds.cap, scale * (1 + max(config.tuning.seeds)) - 1) >= 2**63:
        given = f"seeds.first={seeds.first}, tuning.seeds={config.tuning.seeds}"
        raise InputError(
            f"{given}: seeds must be below 2^63{f', those of tuning below 2^63 / {scale:,}' * (scale > 1)}"
        )
    if not 0 < seeds.power < 1:
        raise InputError(f"seeds.power={seeds.power}: give a probability between 0 and 1, such as 0.8")
    if shared := [seed for seed in config.tuning.seeds if seed in reported or seed in {n // scale for n in reported}]:
        raise InputError(
            f"tuning.seeds={config.tuning.seeds}: {shared[0]} is the seed of a reported run too; tune with other "
            "seeds, such as 1000"
        )


def _check_arms(plan: Plan) -> None:
    if not plan.arms:
        raise InputError("arms=(): give two or more, of different depths (match_width solves them)")
    for arm in plan.arms:
        if arm.kind not in BUDGETS or not 0 < arm.budget < LARGEST_BUDGET:
            given = f"{shortened(arm.budget)} {shortened(arm.kind)}"
            raise InputError(f"arms holds a budget of {given}: give a positive number of {', '.join(BUDGETS)}")
        if min(arm.depth, arm.width) < 1 or min(arm.params, arm.macs, arm.activations) < 0:
            raise InputError(f"arms holds {arm.label}: depth and width must be positive, and no count negative")
    label, count = Counter(arm.label for arm in plan.arms).most_common(1)[0]
    if count > 1:
        raise InputError(f"arms holds {label} more than once: give each arm a depth and width of its own")
    if not plan.families == all(arm.name for arm in plan.arms) == bool(family_names(plan.arms)):
        wanted = "for one arm of each of two families at every budget"
        raise InputError(f"rule={plan.rule!r}: it is {wanted if plan.families else f'not {wanted}'}")
    for budget in plan.budgets:
        depths = sorted({arm.depth for arm in plan.of(budget)})
        if len(depths) < 2 and not plan.families:
            remedy = "deeper against wider needs two depths or more"
            raise InputError(f"depths={shortened(depths)}: {remedy}, of arms of {budget}")


def _check_tuning(config: StudyConfig) -> None:
    tuning = config.tuning
    for name in ("learning_rates", "weight_decays", "seeds"):
        values = getattr(tuning, name)
        rising = all(low < high for low, high in pairwise(values))
        # A run's folder is named with six digits, and no two settings may share one.
        distinct = name == "seeds" or len({f"{value:.6g}" for value in values}) == len(values)
        if not values or not rising or not distinct or not all(0 <= value < math.inf for value in values):
            raise InputError(
                f"tuning.{name}={tuple(values)}: give one or more different numbers, rising, finite, none negative"
            )
    if min(tuning.learning_rates) <= 0:
        raise InputError(f"tuning.learning_rates={tuning.learning_rates}: learning rates must be positive")
    if tuning.rounds < 1:
        raise InputError(f"tuning.rounds={tuning.rounds}: must be at least 1")
    if not 0 <= tuning.extensions <= LARGEST_EXTENSIONS:
        raise InputError(
            f"tuning.extensions={tuning.extensions}: must lie in 0..{LARGEST_EXTENSIONS}; 0 keeps the grid as it is"
        )


def study_identity(directory: Path) -> str:
    """Return the hash of the plan that a folder holds, which binds all other files of the study to it.

    It is that of the record as it was written, whichever version wrote it, without what changes no result.

    Raises:
        InputError: There is no plan, or it is damaged.
    """
    record = _read(directory)
    if record["format"] != FORMER_FORMATS[-1]:
        return seal(identity(record))
    data = {name: value for name, value in record["base"].get("data", {}).items() if name != "data_dir"}
    rest = {name: value for name, value in record.items() if name != "command"}
    return seal(rest | {"base": record["base"] | {"data": data}})


def load_plan(directory: Path) -> Plan:
    """Read the plan of the study in a folder.

    Raises:
        InputError: The file is missing, truncated, edited, or of an unknown format.
    """
    record = _read(directory)
    try:
        plan = from_record(Plan, _plan_fields(record), "its record", REMEDY)
        check_plan(plan)
    except InputError as error:
        text = str(error).removesuffix(REMEDY).rstrip("; ")
        raise InputError(f"{directory / FILE} is not a complete study plan ({text}): {REMEDY}") from None
    return plan


def store_plan(plan: Plan, directory: Path, resolution: Mapping[str, Any] | None = None) -> Plan:
    """Write plan.json, once; the same plan again changes nothing.

    The folder is created if missing. `resolution` declares what the test set can show (`schedule.resolution`).

    Returns:
        The plan as it stands on disk, so that 1 and 1.0, or a list and a tuple, are one study; with the fields of
        `jaxcnn.spec.NOT_IDENTITY` as in `plan`, except for the command: the one that made the study.

    Raises:
        InputError: The folder holds another study or other files. Nothing is overwritten.
    """
    path = directory / FILE
    if directory.exists() and not directory.is_dir():
        raise InputError(f"out={str(directory)!r} is a file: give a folder")
    if not path.exists():
        # The second look: another process may have planned the same study in the meantime.
        if holds_files(directory) and not path.exists():
            raise InputError(f"out={str(directory)!r} holds other files and no {FILE}: give a new or empty folder")
        directory.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_sealed(path, _plan_record(plan) | ({"resolution": resolution} if resolution else {}), once=True)
    stored = load_plan(directory)
    # The tolerance decides the arms, which are compared themselves; former plans do not hold it.
    first, second = (flat(identity(as_record(each)) | {"tolerance": None}) for each in (stored, plan))
    if changed := differences(first, second):
        raise InputError(
            f"out={str(directory)!r} holds a study with another plan ({changed}): a plan is never changed; give a new "
            "folder, or the settings it was planned with"
        )
    data = replace(stored.base.data, data_dir=plan.base.data.data_dir, workers=plan.base.data.workers)
    present = {name: getattr(plan, name) for name in NOT_IDENTITY if hasattr(plan, name) and name != "command"}
    return replace(stored, base=replace(stored.base, data=data), **present)


def _plan_record(plan: Plan) -> dict[str, Any]:
    """Return plan.json without its seal, with what follows from the plan spelled out for a reader."""
    text = plan.measure.text
    return {
        "format": FORMAT,
        "sealed": now(),
        "revision": revision(),
        "command": plan.command,
        **({"own": list(plan.own)} if plan.own else {}),
        "rule": plan.rule,
        "rule_text": rule_named(plan.rule).text,
        "measure": f"test error{' (' * bool(text)}{text}{')' * bool(text)} of the last epoch, "
        f"{' minus '.join(plan.sides)}",
        "contrasts": {
            budget: {"deeper": deeper.label, "wider": wider.label}
            for budget in plan.budgets
            for deeper, wider in [plan.contrast(budget)]
        },
        "study": as_record({each.name: getattr(plan, each.name) for each in fields(StudyConfig)}),
        "arms": [{"label": arm.label, **as_record(arm)} for arm in plan.arms],
    }


def _read(directory: Path) -> dict[str, Any]:
    path = directory / FILE
    if not directory.is_dir():
        raise InputError(f"{str(directory)!r} is not a folder: give the folder of a study{similar_paths(directory)}")
    if not path.exists():
        raise InputError(f"{str(directory)!r} holds no {FILE}: give the folder of a study; a run's holds config.json")
    record = read_sealed(path, REMEDY)
    if record.get("format") not in (FORMAT, *FORMER_FORMATS):
        raise InputError(f"{path} is not a {FORMAT!r} file: it was written by another version of jaxcnn; {REMEDY}")
    return record


def _plan_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Plan` from a record of any format."""
    study, rule = record.get("study"), record.get("rule", "")
    if record["format"] == FORMER_FORMATS[-1]:
        study = {name: record[name] for name in ("base", "hypothesis", "margin", "tuning", "seeds") if name in record}
        rule = rule_named(rule).identifier
    if not isinstance(study, Mapping):
        raise InputError(f"study={shortened(study)}: expected an object")
    settings = {name: value for name, value in study.items() if name not in ("depths", *BUDGETS)}  # those of the arms
    rest = {"rule": rule, "command": record.get("command", ""), "own": record.get("own", ())}
    return settings | {"arms": record.get("arms", ()), **rest}
