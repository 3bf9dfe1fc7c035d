"""The page of a run: one HTML file with all figures and images inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jaxcnn.pictures.document import Block, Figure, Paragraph, to_html
from jaxcnn.pictures.style import Part, Picture, to_svg
from jaxcnn.run.report.classes import class_section
from jaxcnn.run.report.inside import inside_section
from jaxcnn.run.report.objects import object_section
from jaxcnn.run.report.seen import Seen, see
from jaxcnn.run.report.summary import config_section, cost_section, curve_section, metric_section
from jaxcnn.runtime.files import make_folder, write_text

SECTIONS = (
    metric_section,
    curve_section,
    class_section,
    object_section,
    inside_section,
    cost_section,
    config_section,
)


def write_run_page(
    directory: Path | str, out: Path | str | None = None, *, data: str | None = None, data_dir: str | None = None
) -> Path:
    """Write the page of a finished run; nothing is trained, and the page needs no other file and no network.

    Args:
        directory: The run's folder.
        out: Folder of the page. Default: the run's.
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.

    Returns:
        The file, report.html. Images are missing from it where the data cannot be loaded; what the network sees is
        missing where the run kept no checkpoint. The page says so.

    Raises:
        InputError: No finished run.

    >>> write_run_page("runs/first")  # doctest: +SKIP
    """
    seen = see(directory, data=data, data_dir=data_dir)
    blocks = [_block(part) for part in _parts(seen)]
    page = Path(directory if out is None else out) / "report.html"
    make_folder(page.parent)
    model, dataset = seen.result.config.model, Path(seen.result.data["name"]).name
    write_text(page, to_html(f"{model.family} {model.depth}, {dataset}, seed {seen.result.config.seed}", blocks))
    return page


def _parts(seen: Seen) -> Iterator[Part]:
    for section in SECTIONS:
        yield from section(seen)
        if section is metric_section:
            yield from (Paragraph(text) for text in seen.absent)


def _block(part: Part) -> Block:
    return Figure("", to_svg(part.drawing), part.caption) if isinstance(part, Picture) else part
