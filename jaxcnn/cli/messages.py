"""Messages in the words of the command line: one sentence for an error, flags for fields, help of 80 columns."""

from __future__ import annotations

import inspect
import io
import os
import re
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args, get_type_hints

import tyro

from jaxcnn.errors import InputError, did_you_mean
from jaxcnn.spec import Size

COLUMNS = 80
POSITIONAL = get_args(tyro.conf.Positional[int])[1]
FIELD = re.compile(
    r"\b((?:\w+\.)*\w+)=('[^']*'|\"[^\"]*\"|\([^()]*\)|\[[^\[\]]*\]|\w+\([^()]*\)|[^\s;,()]*[^\s;:,.()])"
)
"""A field and its value in an error message."""
WORD = r"[^\s,()\[\]']+"
SIZE = Size | None
TYPES = tyro.constructors.ConstructorRegistry()
"""How flags of types that tyro does not know are read."""


@TYPES.primitive_rule
def _size_rule(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Read a size as 64 or 96x160."""

    def read(words: list[str]) -> Size | None:
        if words == ["None"]:
            return None
        height, times, width = words[0].partition("x")
        return (int(height), int(width)) if times else int(height)

    if info.type != SIZE:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        1, "{None}|INT|HEIGHTxWIDTH", read, lambda value: value is None or isinstance(value, int | tuple),
        lambda value: ["x".join(map(str, value)) if isinstance(value, tuple) else str(value)],
    )  # fmt: skip


def flags_of(source: Any, prefix: str = "--") -> dict[str, Any]:
    """Return the flags of a function or a dataclass, and the type hint of each; positional arguments have none."""
    names = [each.name for each in fields(source)] if is_dataclass(source) else inspect.signature(source).parameters
    kind = type(source) if is_dataclass(source) and not isinstance(source, type) else source
    flags, hints = {}, get_type_hints(kind, include_extras=True)
    for name in names:
        hint, *marks = get_args(hints[name]) if hasattr(hints[name], "__metadata__") else (hints[name],)
        own = next((mark.name for mark in marks if getattr(mark, "name", None) is not None), name.replace("_", "-"))
        value = getattr(source, name, None)
        inner = value if is_dataclass(value) else hint
        if is_dataclass(inner):
            flags |= flags_of(inner, f"{prefix}{own}." if own else prefix)
        elif POSITIONAL not in marks:
            flags[prefix + own] = hint
    return flags


def parse_words(kind: Any, arguments: Sequence[str], prog: str | None, flags: Mapping[str, Any], **options: Any) -> Any:
    """Return what `tyro.cli` returns; its errors are one sentence, its pages at most 80 columns wide.

    A class with the attribute `common` lists the flags of its page of help; `--help-all` shows all.

    Raises:
        InputError: A flag or its value is wrong.
        SystemExit: Help was requested.
    """
    out, err, prog, columns = io.StringIO(), io.StringIO(), prog or Path(sys.argv[0]).name, os.environ.get("COLUMNS")
    common = None if "--help-all" in arguments else getattr(kind, "common", None)
    arguments = ["--help" if word == "--help-all" else word for word in arguments]
    helps = not {"-h", "--help"}.isdisjoint(arguments)
    os.environ["COLUMNS"] = str(COLUMNS if helps else 10_000)  # An error is in a box, whose lines must not be broken.
    try:
        with redirect_stdout(out), redirect_stderr(err):
            return tyro.cli(kind, args=arguments, prog=prog, registry=TYPES, **options)
    except SystemExit as end:
        if end.code:
            raise InputError(_sentence(err.getvalue(), arguments, prog, flags)) from None
        print(_page(out.getvalue(), common), end="")
        if common is not None:
            print(f"\n`{prog} --help-all` shows all {len(flags)} options.")
        raise
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns


@contextmanager
def flags_for_fields(flags: Mapping[str, Any]) -> Iterator[None]:
    """Word errors from within the block with `--batch-size 0` in place of `batch_size=0`."""
    try:
        yield
    except InputError as error:
        if type(error) is not InputError:
            raise
        raise InputError(_in_flags(str(error), flags)) from error


def _in_flags(text: str, flags: Mapping[str, Any]) -> str:
    paths = {flag[2:].replace("-", "_"): flag for flag in flags if flag not in ("--model", "--data")}
    paths |= {name: flag for name, flag in (("name", "--data"), ("depth", "--depths")) if flag in flags}

    quoted = [match.span() for match in re.finditer(r"(?<![\w=])'[^']*'", text)]

    def named(match: re.Match[str]) -> str:
        name, value = match.groups()
        if any(start < match.start() < end for start, end in quoted):  # a path such as 'runs/seed=3'
            return match[0]
        ends = [flag for path, flag in paths.items() if path.endswith(f".{name}")]
        flag = paths.get(name) or (ends[0] if len(ends) == 1 else None)
        if flag is None:
            return match[0]
        if value == "True" and flags[flag] is bool and not flag.startswith("--model."):
            return flag
        words = [value[1:-1]] if value[0] in "\"'" else re.findall(WORD, value)
        return f"{flag} {('x' if flags[flag] == SIZE else ' ').join(words)}"

    return FIELD.sub(named, text)


def refuse_ignored(arguments: Sequence[str], ignored: Mapping[str, str]) -> None:
    """Refuse flags that would change nothing.

    Args:
        arguments: The flags.
        ignored: Those that have no effect, without their dashes, and what each needs or gives way to.
    """
    for word in arguments:
        flag = re.sub(r"(^|\.)no-", r"\1", word.partition("=")[0].removeprefix("--").replace("_", "-"))
        if word.startswith("--") and flag in ignored:
            raise InputError(f"--{flag}: {ignored[flag]}")


def nearest_flags(word: str, flags: Sequence[str]) -> list[str]:
    """Return the flags that a mistyped one may mean: by the end of its name, the initials of that, or its letters."""
    word = word.replace("_", "-").lower()
    ends = {flag: flag.lstrip("-").rpartition(".")[2] for flag in flags}
    end = word.lstrip("-").rpartition(".")[2]
    named = [flag for flag, own in ends.items() if end in (own, "".join(part[:1] for part in own.split("-")))]
    near = get_close_matches(end, list(ends.values()), n=3, cutoff=0.75)
    return (named or get_close_matches(word, flags, n=1, cutoff=0.75) or [f for f in flags if ends[f] in near])[:3]


def _sentence(box: str, arguments: Sequence[str], prog: str, flags: Mapping[str, Any]) -> str:
    """Return a parser's error as one sentence: what is wrong, the value, what to do."""
    lines = "\n".join(line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:])  # without the title
    parts = [part.strip().splitlines() for part in re.split(r"^[-─]{3,}$", lines, flags=re.MULTILINE) if part.strip()]
    text, page = " ".join(parts[0]), f"`{prog} --help`"
    if match := re.search(r"Unrecognized options: (.*)", text):
        words = match[1].split(", ")
        word = next((word for word in words if word.startswith("-")), words[0]).partition("=")[0]
        if not word.startswith("-"):
            return f"{word}: unexpected; {page} shows what to give"
        near = nearest_flags(word, list(flags))
        return f"{word}: unknown flag{did_you_mean(near) or f'; run {page} for all flags'}"
    if match := re.search(r"Missing value for argument '(\S+)'", text):
        return f"{match[1]}: needs a value; see {page}"
    if match := re.search(r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*?),?\)\.", text):
        return f"{match[2]} {match[1]}: choose one of {match[3].replace(chr(39), '')}"
    if match := re.search(r"Missing from .*?: (\S+)(?: (?:STR|INT|FLOAT|PATH))? (.*?)\.? \(required\)", text):
        return f"{match[1]}: needs a value: {match[2]}"
    if match := re.search(r"Error parsing (\S+): ", text):
        form = next((line.partition(" ")[2] for line in parts[1] if line.startswith(match[1])), "another value")
        form = form.replace("{None}|", "").replace("|", " or ").translate({ord("{"): None, ord("}"): None})
        return f"{match[1]} {_given(arguments, match[1])}: give {form}; see {page}"
    return f"{text}; run {page} for help"


def _given(arguments: Sequence[str], flag: str) -> str:
    """Return the values that the arguments give to a flag."""
    values = ""
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == flag:
            rest = takewhile(lambda word: not word.startswith("--"), arguments[number + 1 :])
            values = value if equals else " ".join(rest)
    return values


def _page(text: str, common: Collection[str] | None) -> str:
    """Return a page of help in lines of 80 columns, without a None that the text explains; completion scripts as is."""
    if not text.startswith("usage:"):
        return text
    usage, _, rest = text.partition("\n")
    rest = rest if common is None else _usual(rest, common)
    text = usage.replace("{None}|", "") + "\n" + re.sub(r"\s*\(default:\s+(None|'')?\s*\)", "", rest)
    text = re.sub(
        r"\{None\}\|(.*?)(  |$)", lambda match: match[1] + (9 * " " if match[2] else ""), text, flags=re.MULTILINE
    )
    lines = [line.rstrip() for line in text.splitlines()]
    broken = [textwrap.wrap(line, COLUMNS, break_on_hyphens=False) if len(line) > COLUMNS else [line] for line in lines]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line for part in broken for line in part)) + "\n"


def _usual(page: str, common: Collection[str]) -> str:
    """Return a page of help with the usual flags only, in their groups."""
    page, *groups = re.split(r"\n(?= \S.*\n -{3,} *\n)", page)
    for group in groups:
        title, *items = re.split(r"\n(?=  --?\w)", group)
        usual = [item for item in items if {"help", *common} & set(re.findall(r"--([\w.-]+)", item.splitlines()[0]))]
        page = "\n".join([page, title, *usual, ""]) if usual else page
    return page
