"""`jaxcnn doctor`: the installation, and files that shadow a package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError
from jaxcnn.runtime.files import cache_dir
from jaxcnn.runtime.onednn import status

SHADOWED = (
    "jax", "jaxlib", "flax", "optax", "orbax", "chex", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "rich", "tyro",
    "tensorflow", "tensorflow_datasets", "torch", "keras", "grain", "jaxcnn", "random", "statistics", "types", "typing",
    "json", "math", "time", "string", "queue", "copy", "enum", "dataclasses", "functools", "inspect", "signal",
)  # fmt: skip
"""Files of these names in the working folder hide the package of that name from Python started there."""


def doctor(json: bool = False) -> None:
    """Show versions, devices, what computes convolutions, the cache, and files that shadow a package (exit code 2).

    Args:
        json: Print JSON.
    """
    here = Path.cwd()
    shadows = [f"{name}.py" for name in SHADOWED if (here / f"{name}.py").is_file()]
    # A checkout of jaxcnn itself holds a package of that name on purpose.
    packages = [name for name in SHADOWED if (here / name / "__init__.py").is_file() and name != "jaxcnn"]
    shadows += [f"{name}/" for name in packages if f"{name}.py" not in shadows]
    from jaxcnn.runtime.environment import cores, processor, versions

    facts: dict[str, Any] = {"versions": versions(), "processor": processor(), "cores": cores()}
    if not shadows:
        import jax

        facts["devices"] = [f"{device.platform}: {device.device_kind}" for device in jax.devices()]
        path, reason = status()
        facts["convolutions on a CPU"] = f"{path}: {reason}" if reason else path
    folder = cache_dir()
    sizes = [_size(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names]
    megabytes = sum(sizes) // 10**6
    facts |= {"cache": {"folder": str(folder), "files": len(sizes), "megabytes": megabytes}, "shadows": shadows}
    if json:
        print_json(facts)
    else:
        tables = {key: value for key, value in facts.items() if isinstance(value, dict)}
        rows = [(f"{key} {name}", value) for key, table in tables.items() for name, value in table.items()]
        rows += [(key, value) for key, value in facts.items() if key not in tables and key != "shadows"]
        print_table(rows, title="doctor")
    if shadows:
        raise InputError(
            f"working folder: {', '.join(shadows)} hides the package of that name from Python started here; rename it"
        )


def _size(path: str) -> int:
    """Return the bytes of a file; 0 if another process has removed it meanwhile."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
