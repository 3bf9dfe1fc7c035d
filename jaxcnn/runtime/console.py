"""Tables and progress bars that fit the console: whole columns are left out by importance, and no number is cut."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Table
from rich.text import Text

WIDEST = 100_000


def print_fitting(
    make: Callable[[Sequence[str]], Table], drop: Sequence[str] = (), console: Console | None = None
) -> None:
    """Print a table, without the first few names of `drop` where the terminal (default: stdout) is too narrow.

    What still does not fit makes longer lines; where the output is no terminal, nothing is left out or wrapped.
    `make(without)` returns the table without some columns.
    """
    console = console or Console()
    count, table = 0, make(())
    while console.is_terminal and count < len(drop) and measured(console, table).minimum > console.width:
        count += 1
        table = make(drop[:count])
    size = measured(console, table)
    console.width = max(console.width, size.minimum if console.is_terminal else size.maximum)
    console.print(table)
    if count:
        console.print(Text(f"a wider terminal shows: {', '.join(drop[:count])}"), soft_wrap=True)


def measured(console: Console, table: Table) -> Measurement:
    """Return the smallest width of a table, words and columns that do not wrap whole, and that without any wrapping."""
    return Measurement.get(console, console.options.update(max_width=WIDEST), table)


class FittingProgress(Progress):
    """A progress bar of one line; `drop` are the columns that go, in this order, where the console is too narrow."""

    def __init__(
        self, columns: Sequence[ProgressColumn], drop: Sequence[ProgressColumn], console: Console, *, off: bool,
        transient: bool = False,
    ):  # fmt: skip
        self._every, self._drop, self._screen = tuple(columns), drop, console  # before the first line is made
        super().__init__(*columns, console=console, disable=off, transient=transient)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """Return the line without as few columns as possible."""
        rows, count = list(tasks), 0
        while True:
            self.columns = tuple(column for column in self._every if column not in self._drop[:count])
            table = super().make_tasks_table(rows)
            if count == len(self._drop) or measured(self._screen, table).maximum <= self._screen.width:
                return table
            count += 1
