"""`jaxcnn report`: reports of studies, without training."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from jaxcnn.errors import InputError


def report(studies: Positional[tuple[Path, ...]], out: Path = Path("runs/joined")) -> None:
    """Rebuild a study's report from its records, without training; several studies are also joined into one page.

    Args:
        studies: Folders of studies.
        out: Folder of the joined page.
    """
    from jaxcnn.study import load_study, show_report, write_joined

    if not studies:
        raise InputError("studies: none given; name the folder of a study, or several to join them")
    results = [load_study(folder) for folder in studies]
    for folder, result in zip(studies, results, strict=True):
        show_report(result, folder)
    if len(results) > 1:
        print(f"joined: {write_joined(results, out)}")
