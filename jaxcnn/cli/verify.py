"""`jaxcnn verify`: the numbers of a report, recomputed."""

from __future__ import annotations

import sys
from pathlib import Path

from tyro.conf import Positional

from jaxcnn.cli.output import print_json, print_table


def verify(study: Positional[Path], data: bool = True, json: bool = False) -> None:
    """Recompute every number of a study's report from its predictions and records; exit code 1 if one differs.

    Args:
        study: Folder of the study.
        data: Also load the data set and compare its splits with the recorded ones.
        json: Print JSON.
    """
    from jaxcnn.study.verify import verify as checks_of

    checks = checks_of(study, data=data)
    if json:
        print_json(checks)
    else:
        rows = [(c.name, c.count, c.equal, f"{c.difference:.2g}", c.remark) for c in checks]
        print_table(rows, ("quantity", "count", "equal", "gap", "remark"))
    if any(check.equal < check.count for check in checks):
        sys.exit(1)
