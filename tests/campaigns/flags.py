"""Generate command lines: misspelt flags, values of every wrong kind for every field, paths to the wrong things."""

import random
import re
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxcnn.cli.entry import COMMANDS
from jaxcnn.spec import Classification, RunConfig, Seeds, Tuning
from tests.campaigns.damage import odd_place
from tests.campaigns.scene import STUDY, TINY, Input, Scene

WORDS = (
    "", " ", "abc", "nan", "inf", "-inf", "-1", "0", "-0.5", "1.5", "1e400", "-7", "1", "2", "7", "1000",
    "1e-400", "1e30", "2147483648",
    "99999999999999999999999", "0x10", "1,5", "½", "é", "💥", "x" * 3000, "None", "True", "false", "{}", "[1]", "../..",
    "\u202eabc", "a\nb", "--", "%s", "'; drop", "１２",
)  # fmt: skip
COSTLY = {"epochs", "depth", "width", "depths", "params", "macs", "activations", "pilot", "cap", "extensions", "kernel",
          "dense", "units", "stage_sizes", "stage_widths", "size"}  # fmt: skip
"""Fields whose values may be valid and take very long."""
REAL = ("resnet20", "lenet5", "vgg16", "digits", "mnist")
UNREAL = ("", " ", "a/b/c", "resnet0", "resnet-1", "wrn_16", "wrn_0_0", "💥", "x" * 3000, "digits:99", "mnist/3.0")
LISTED = (
    ("lenet5", "--input"), ("resnet20", "--classes"), ("digits", "--size"), ("digits", "--validation"),
    ("digits", "--train-size"), ("glyphs", "--classes"), ("glyphs", "--images"),
)  # fmt: skip
NEVER_VALID = {"workers", "data_dir"}
"""Fields that get invalid values only: no thousand processes, no folder that happens to exist."""
CREATABLE = ("missing", "empty folder", "read only", "odd name", "dangling")
"""Places at which an output folder can be created."""


def leaves(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of a tree of dataclasses: its dotted path and its type."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, hint


RUN_FIELDS = dict(leaves(RunConfig)) | {f"task.{name}": hint for name, hint in leaves(Classification)}
del RUN_FIELDS["model.options"]  # no flag of its own: each option of a family is one
STUDY_FIELDS: dict[str, Any] = {
    "depths": tuple[int, ...], "params": tuple[int, ...], "macs": tuple[int, ...], "activations": tuple[int, ...],
    "tolerance": float, "margin": float, "workers": int | None,
    **{f"tuning.{name}": hint for name, hint in leaves(Tuning)},
    **{f"seeds.{name}": hint for name, hint in leaves(Seeds)},
}  # fmt: skip


def fits(word: str, hint: Any) -> bool:
    """Return whether a parser can read a word as a value of a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(word, each) for each in inner)
    if origin is tuple:
        return fits(word, inner[0])
    if origin is Literal:
        return word in map(str, inner)
    if hint in (int, float):
        try:
            hint(word)
        except ValueError:
            return False
        return True
    if hint is bool:
        return word in ("True", "False")
    return word == "None" if hint is type(None) else True


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _names(field: str, *words: str) -> tuple[str, ...]:
    """Return what a message may call a field: its name, its flag or a value that is long enough to be recognised."""
    last = field.rpartition(".")[2]
    return last, last.replace("_", "-"), *(w.strip() for w in words if len(w.strip()) > 2 or not w.isascii())


def _assignment(rng: random.Random, known: dict[str, Any]) -> tuple[list[str], Input]:
    """Draw a field and a value: the flag's words, and the input without its command."""
    field = rng.choice(sorted(known))
    if get_origin(known[field]) is Literal or known[field] is bool:  # few of their values are interesting
        field = rng.choice(sorted(known))
    hint, last = known[field], field.rpartition(".")[2]
    many = get_origin(hint) is tuple or any(get_origin(each) is tuple for each in get_args(hint))
    # The parser refuses most words for most fields; those that it accepts test more.
    choices = WORDS if rng.random() < 0.3 else [word for word in WORDS if fits(word, hint)] or WORDS
    words = [rng.choice(choices) for _ in range(rng.choice((1, 1, 2, 3)) if many else 1)]
    if last in NEVER_VALID:
        words = [rng.choice(("0", "-1", "abc", "nan", "", "1.5"))]
    invalid = not all(fits(word, hint) for word in words) and field != "data.data_dir"
    about = f"{field}={' '.join(repr(word if len(word) < 40 else f'{word[:20]}...') for word in words)}"
    names = (*_names(field, *words), *(["--out"] if "--" in words else []))  # what follows "--" is not a flag
    return [_flag(field), *words], Input((), names, about, invalid, costly=last in COSTLY)


def run_field(rng: random.Random, scene: Scene) -> Input:
    """Train with a value that a field of the run may not have."""
    words, given = _assignment(rng, RUN_FIELDS)
    out = ("--out", str(scene.root / "out")) if rng.random() < 0.6 else ()
    return given._replace(argv=("train", *TINY, *words, *out), writable=("out/",))


def study_field(rng: random.Random, scene: Scene) -> Input:
    """Start a study with a value that one of its fields may not have."""
    words, given = _assignment(rng, STUDY_FIELDS)
    return given._replace(argv=("study", *STUDY, *words, "--out", str(scene.root / "out")), writable=("out/",))


def misspelt(rng: random.Random, scene: Scene) -> Input:
    """Misspell a flag, a command or a name by one letter, or give too many words."""
    way = rng.choice(("flag", "flag", "command", "model", "data", "extra", "last", "listing"))
    out = ("--out", str(scene.root / "out"))
    if way == "flag":
        flag, command = _misspell(rng, _flag(rng.choice(sorted(RUN_FIELDS)))), rng.choice(("train", "study"))
        known = flag.replace("_", "-") in {"--data", "--model", *map(_flag, (*RUN_FIELDS, *STUDY_FIELDS))}
        words = (command, *(TINY if command == "train" else STUDY), flag, "3", *out)
        return Input(words, (flag,), flag, invalid=not known, writable=("out/",), costly=known)
    if way == "command":
        word = rng.choice((_misspell(rng, rng.choice(sorted(COMMANDS))), "", "é", "TRAIN", "-x", "--", "../train"))
        return Input((word,), (word or "''",), f"command {word!r}", invalid=word not in COMMANDS)
    if way in ("model", "data"):
        name = rng.choice((_misspell(rng, rng.choice(REAL)), *UNREAL))
        real = way == "model" and re.fullmatch(r"(resnet|wrn_|vgg|lenet)\w*\d+", name) is not None  # such as resnet200
        names = (name[:20].strip() or "folder '.'", way, "name", "depth", "width")  # resnet0: depth=0
        return Input(("train", f"--{way}", name), names, f"{way} {name[:30]!r}", invalid=not real, costly=real)
    if way == "last":
        flag = rng.choice(("--model", "--data", "--out", "--epochs", "--model.depth", "--data.augment"))
        invalid = flag != "--data.augment"
        return Input(("train", *TINY, flag), (flag, flag[2:]), f"{flag} without a value", invalid=invalid)
    if way == "extra":
        words = (rng.choice(("evaluate", "doctor", "models", "train")), "one", "two", "--three")
        return Input(words, ("one", "two", "--three"), "too many words", invalid=True)
    word = rng.choice(WORDS)
    name, flag = rng.choice(LISTED)
    command = "data" if name in ("digits", "glyphs") else "models"
    names = _names(flag[2:].replace("-", "_"), word)
    return Input((command, name, f"{flag}={word}"), names, f"{command} {name} {flag}={word[:20]!r}", costly=True)


def _misspell(rng: random.Random, word: str) -> str:
    """Drop, double, replace or swap one letter of a word, or change its case."""
    result = word
    while result == word:
        at = rng.randrange(min(2, len(word) - 1), len(word))
        letter = rng.choice(("", word[at] * 2, word[at].swapcase(), *"qzx_9é", word[at + 1 : at + 2] + word[at]))
        after = at + 1 + (len(letter) == 2 and letter[0] != letter[1])
        result = word[:at] + letter + word[after:]
    return result


def path(rng: random.Random, scene: Scene) -> Input:
    """Give a command a folder or file that is something else, somewhere else or missing."""
    kind, place = odd_place(rng, scene.root)
    text = f"{place}/" if kind in ("missing", "dangling") and rng.random() < 0.5 else str(place)
    run, study = scene.templates / "run", scene.templates / "study"
    commands: dict[str, tuple[str, ...]] = {
        "evaluate RUN": ("evaluate", text),
        "evaluate, a study": ("evaluate", str(study)),
        "predict RUN": ("predict", text, str(scene.image)),
        "predict IMAGE": ("predict", str(run), text),
        "report DIR": ("report", text),
        "report DIR, a run": ("report", str(run)),
        "status DIR": ("study", "status", text),
        "train --data": ("train", *TINY, "--data", text),
        "data NAME": ("data", text),
        "train --data-dir": ("train", *TINY, "--data", "mnist", "--data.data-dir", text),
        "train --out": ("train", *TINY, "--out", text),
        "train --out, a study": ("train", *TINY, "--out", str(scene.root / "study")),
        "study --out": ("study", *STUDY, "--out", text),
    }
    name = rng.choice(sorted(commands))
    if name == "train --out, a study":
        scene.copy("study")
    if name.endswith((", a run", ", a study")):
        return Input(commands[name], ("run", "study"), name, invalid=True)
    valid = name in ("train --out", "study --out") and kind in CREATABLE
    inside = place.is_relative_to(scene.root)
    writable = (f"{place.relative_to(scene.root)}/", "nothing here/") if valid and inside else ()
    names = (text, repr(text)[1:-1], place.name[:30])
    return Input(commands[name], names, f"{name}: {kind}", invalid=not valid, writable=writable)
