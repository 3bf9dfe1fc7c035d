"""What a checkpoint must hold: digests of its arrays and of its files, and whose shapes they are."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn.errors import InputError


def digest_of_arrays(tree: Any) -> str:
    """SHA-256 over names, types, shapes and values of all leaves."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(tree), key=lambda pair: _name(pair[0])):
        values = np.ascontiguousarray(leaf)
        digest.update(f"{_name(path)} {values.dtype} {np.shape(leaf)}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def digest_of_files(folder: Path) -> str:
    """SHA-256 over names and contents of all files below a folder; of one that cannot be read, of its name alone."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\n".encode())
        with suppress(OSError):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def shapes(tree: Any) -> dict[str, list[int]]:
    """Shape of each leaf by its path."""
    return {_name(path): list(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def refuse_other_model(have: dict[str, list[int]], want: dict[str, list[int]], directory: Path) -> None:
    """Name the leaves in which a checkpoint differs from a model.

    Raises:
        InputError: There are some.
    """
    if have == want:
        return
    gone = [f"- {name} {tuple(have[name])}" for name in have if have.get(name) != want.get(name)]
    new = [f"+ {name} {tuple(want[name])}" for name in want if have.get(name) != want.get(name)]
    shown = "; ".join(gone[:3] + new[:3])
    hidden = len(gone[3:]) + len(new[3:])
    shown += f"; and {hidden} more" if hidden else ""
    raise InputError(
        f"checkpoint {directory}: it belongs to another model or optimizer (- stored, + expected: {shown}); "
        "use the configuration it was trained with, or another output folder"
    )


def _name(path: Any) -> str:
    """One spelling for dictionary keys, fields and positions, since stored trees are plain dictionaries."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)
