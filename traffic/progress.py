"""Progress as people see it: bars on a terminal, now and then a line anywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from traffic.watching import Passed

_LINE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; `published` counts the copies too."""

    stage: str
    purchases: int
    published: int
    passed: Passed


OnProgress = Callable[[Progress], None]


@contextmanager
def progress_display(console: Console | None = None) -> Iterator[OnProgress]:
    """A callback that shows progress on stderr for as long as the block lasts."""
    err = console or Console(stderr=True)
    if not err.is_terminal:
        yield _Lines(err)
        return
    with _bars(err) as bars:
        yield _Bars(bars)


@contextmanager
def counting_display(label: str, total: int, console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """The same for a plain count up to `total`."""
    err = console or Console(stderr=True)
    if not err.is_terminal:
        yield lambda _done: None
        err.print(f"{label}: {total}", highlight=False)
        return
    with _bars(err) as bars:
        task = bars.add_task(label, total=total, note="")
        yield lambda done: bars.update(task, completed=done)


def _bars(console: Console) -> Bars:
    return Bars(
        SpinnerColumn(finished_text="[green]\N{CHECK MARK}[/green]"),
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}[/dim]"),
        console=console,
    )


@dataclass(slots=True)
class _Bars:
    bars: Bars
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, now: Progress) -> None:
        passed = now.passed
        counts = {
            "paid": min(now.published, now.purchases),
            "enrolled": passed.enrolled,
            "allocated": passed.allocated,
            "scheduled": passed.scheduled,
        }
        for name, count in counts.items():
            if name not in self.tasks:
                self.tasks[name] = self.bars.add_task(name, total=now.purchases, note="")
            self.bars.update(self.tasks[name], completed=count)
        self.bars.update(self.tasks["paid"], note="" if now.published else now.stage)
        self.bars.update(self.tasks["scheduled"], note=f"{passed.parked} parked" if passed.parked else "")


@dataclass(slots=True)
class _Lines:
    console: Console
    last: float = float("-inf")
    stage: str = ""

    def __call__(self, now: Progress) -> None:
        if now.stage == self.stage and time.monotonic() - self.last < _LINE_SECONDS:
            return
        self.stage, self.last = now.stage, time.monotonic()
        if not now.published:
            self.console.print(now.stage, highlight=False)
            return
        passed = now.passed
        self.console.print(
            f"{now.stage}: {now.published} published, {passed.enrolled} of {now.purchases} enrolled, "
            f"{passed.allocated} allocated, {passed.scheduled} scheduled, {passed.parked} parked",
            highlight=False,
            soft_wrap=True,
        )
