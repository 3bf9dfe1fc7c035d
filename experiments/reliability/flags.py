"""Generated command lines: misspelt flags, values of every wrong kind for every field, paths to the wrong things."""

import random
import re
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from damage import odd_place
from scenes import STUDY, TINY, Input, Scene

from jaxcnn.cli.entry import COMMANDS
from jaxcnn.spec import RunConfig
from jaxcnn.study.plan import Seeds, Tuning

WORDS = (
    "", " ", "abc", "nan", "inf", "-inf", "-1", "0", "-0.5", "1.5", "1e400", "-7", "1", "2", "7", "1000",
    "1e-400", "1e30", "2147483648",
    "99999999999999999999999", "0x10", "1,5", "½", "é", "💥", "x" * 3000, "None", "True", "false", "{}", "[1]", "../..",
    "\u202eabc", "a\nb", "--", "%s", "'; drop", "１２",
)  # fmt: skip
STUDY_FIELDS: dict[str, Any] = {
    "depths": tuple[int, ...], "params": tuple[int, ...], "macs": tuple[int, ...], "activations": tuple[int, ...],
    "tolerance": float, "margin": float, "workers": int | None,
}  # fmt: skip
# Many of these are not wrong: they take as long, or as much memory, as they say.
COSTLY = {"epochs", "depth", "width", "depths", "params", "macs", "activations", "pilot", "cap", "extensions", "kernel",
          "dense", "units", "stage_sizes", "stage_widths", "size"}  # fmt: skip
REAL = ("resnet20", "lenet5", "vgg16", "digits", "mnist")
UNREAL = ("", " ", "a/b/c", "resnet0", "resnet-1", "wrn_16", "wrn_0_0", "💥", "x" * 3000, "digits:99", "mnist/3.0")
LISTED = (
    ("lenet5", "--input"), ("resnet20", "--classes"), ("digits", "--size"), ("digits", "--validation"),
    ("digits", "--train-size"), ("glyphs", "--classes"), ("glyphs", "--images"),
)  # fmt: skip
NEVER = {"workers", "data_dir"}  # Too many processes harm more than the campaign; a folder that a field may well name.
CAN_BE_WRITTEN = ("missing", "empty folder", "read only", "odd name", "dangling")


def leaves(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a tree of dataclasses: its path with dots, and its type."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, hint


RUN_FIELDS = dict(leaves(RunConfig))
STUDY_FIELDS |= {f"tuning.{name}": hint for name, hint in leaves(Tuning)}
STUDY_FIELDS |= {f"seeds.{name}": hint for name, hint in leaves(Seeds)}


def fits(word: str, hint: Any) -> bool:
    """Whether a word is a value of a type, as far as a parser can tell."""
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


def _spelt(field: str) -> str:
    return "--" + field.replace("_", "-")


def _names(field: str, *words: str) -> tuple[str, ...]:
    last = field.rpartition(".")[2]
    return (
        last,
        last.replace("_", "-"),
        *(word.strip() for word in words if len(word.strip()) > 2 or not word.isascii()),
    )


def _value(rng: random.Random, known: dict[str, Any]) -> tuple[list[str], Input]:
    """A field with a value drawn for it: its words, and what is expected (without the command)."""
    field = rng.choice(sorted(known))
    if get_origin(known[field]) is Literal or known[field] is bool:  # There is little to be wrong in.
        field = rng.choice(sorted(known))
    hint, last = known[field], field.rpartition(".")[2]
    many = get_origin(hint) is tuple or any(get_origin(each) is tuple for each in get_args(hint))
    # A parser refuses most words for most fields; more is to be learnt from those that it takes.
    choices = WORDS if rng.random() < 0.3 else [word for word in WORDS if fits(word, hint)] or WORDS
    words = [rng.choice(choices) for _ in range(rng.choice((1, 1, 2, 3)) if many else 1)]
    if last in NEVER:
        words = [rng.choice(("0", "-1", "abc", "nan", "", "1.5"))]
    must = not all(fits(word, hint) for word in words) and field != "data.data_dir"
    short = [word if len(word) < 40 else f"{word[:20]}..." for word in words]
    about = f"{field}={' '.join(map(repr, short))}"
    names = (*_names(field, *words), *(["--out"] if "--" in words else []))  # what follows "--" is no flag any more
    return [_spelt(field), *words], Input((), names, about, must, long=last in COSTLY)


def run_field(rng: random.Random, scene: Scene) -> Input:
    """`train` with a value that some field may not have."""
    words, found = _value(rng, RUN_FIELDS)
    out = ("--out", str(scene.root / "out")) if rng.random() < 0.6 else ()
    return found._replace(argv=("train", *TINY, *words, *out), may=("out/",))


def study_field(rng: random.Random, scene: Scene) -> Input:
    """`study` with a value that some field of the study may not have."""
    words, found = _value(rng, STUDY_FIELDS)
    return found._replace(argv=("study", *STUDY, *words, "--out", str(scene.root / "out")), may=("out/",))


def misspelt(rng: random.Random, scene: Scene) -> Input:
    """A flag, a command or a name with a letter too few, too many or wrong; words too many."""
    way = rng.choice(("flag", "flag", "command", "model", "data", "extra", "last", "listing"))
    out = ("--out", str(scene.root / "out"))
    if way == "flag":
        flag, command = _wrong(rng, _spelt(rng.choice(sorted(RUN_FIELDS)))), rng.choice(("train", "study"))
        known = flag.replace("_", "-") in {_spelt(field) for field in (*RUN_FIELDS, *STUDY_FIELDS)} | {
            "--data",
            "--model",
        }
        words = (command, *(TINY if command == "train" else STUDY), flag, "3", *out)
        return Input(words, (flag,), flag, must=not known, may=("out/",), long=known)
    if way == "command":
        word = rng.choice((_wrong(rng, rng.choice(sorted(COMMANDS))), "", "é", "TRAIN", "-x", "--", "../train"))
        return Input((word,), (word or "''",), f"command {word!r}", must=word not in COMMANDS)
    if way in ("model", "data"):
        name = rng.choice((_wrong(rng, rng.choice(REAL)), *UNREAL))
        real = way == "model" and re.fullmatch(r"(resnet|wrn_|vgg|lenet)\w*\d+", name) is not None  # resnet200 is one
        names = (name[:20].strip() or "folder '.'", way, "name", "depth", "width")  # resnet0: depth=0
        return Input(("train", f"--{way}", name), names, f"{way} {name[:30]!r}", must=not real, long=real)
    if way == "last":
        flag = rng.choice(("--model", "--data", "--out", "--epochs", "--model.depth", "--data.augment"))
        return Input(("train", *TINY, flag), (flag, flag[2:]), f"{flag} without a value", must=flag != "--data.augment")
    if way == "extra":
        words = (rng.choice(("evaluate", "doctor", "models", "train")), "one", "two", "--three")
        return Input(words, ("one", "two", "--three"), "words too many", must=True)
    return _listing(rng)


def _listing(rng: random.Random) -> Input:
    word = rng.choice(WORDS)
    name, flag = rng.choice(LISTED)
    command = "data" if name in ("digits", "glyphs") else "models"
    names = _names(flag[2:].replace("-", "_"), word)
    return Input((command, name, f"{flag}={word}"), names, f"{command} {name} {flag}={word[:20]!r}", long=True)


def _wrong(rng: random.Random, word: str) -> str:
    """A word as hands mistype it."""
    found = word
    while found == word:
        place = rng.randrange(min(2, len(word) - 1), len(word))
        letter = rng.choice(
            ("", word[place] * 2, word[place].swapcase(), *"qzx_9é", word[place + 1 : place + 2] + word[place])
        )
        after = place + 1 + (len(letter) == 2 and letter[0] != letter[1])
        found = word[:place] + letter + word[after:]
    return found


def path(rng: random.Random, scene: Scene) -> Input:
    """A command whose folder or file is something else, somewhere else or nothing."""
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
        return Input(commands[name], ("run", "study"), name, must=True)
    can = name in ("train --out", "study --out") and kind in CAN_BE_WRITTEN
    inside = place.is_relative_to(scene.root)
    may = (f"{place.relative_to(scene.root)}/", "nothing here/") if can and inside else ()
    return Input(commands[name], (text, repr(text)[1:-1], place.name[:30]), f"{name}: {kind}", must=not can, may=may)
