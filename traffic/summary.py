"""What a demo did, as JSON for programs and as a page for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from traffic.watching import Journey, Result

_MILLISECONDS = 1_000


@dataclass(frozen=True, slots=True)
class Summary:
    """One run: what was published, what became of it, who breaks an invariant, and one purchase as an example."""

    purchases: int
    duplicates_published: int
    students: int
    trainers: int
    result: Result
    offenders: dict[str, list[Any]]
    example: Journey | None

    @property
    def purchases_per_second(self) -> float:
        """Purchases settled, by the time from the first payment to the last outcome."""
        return round(self.purchases / self.result.seconds, 1) if self.result.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """The figures; times in milliseconds."""
        return {
            "purchases": self.purchases,
            "scheduled": self.result.scheduled,
            "parked": sum(self.result.parked.values()),
            "sessions": self.result.sessions,
            "duplicates_published": self.duplicates_published,
            "p50_ms": self.result.p50_ms,
            "p99_ms": self.result.p99_ms,
            "purchases_per_second": self.purchases_per_second,
            "invariant_offenders": sum(map(len, self.offenders.values())),
        }


def show(summary: Summary, console: Console, addresses: Mapping[str, str]) -> None:
    """Tell what happened, one purchase step by step, and where to look next; `addresses` by kafka, database, http."""
    console.print(Panel(_figures(summary), title="From payment to sessions", title_align="left", expand=False))
    if summary.example:
        title = f"One of them: {summary.example.payment_id}"
        console.print(Panel(_steps(summary.example), title=title, title_align="left", expand=False))
    # No table and no panel: an address must stay whole, so that it can be copied.
    console.print(Text("Look around", style="bold"))
    for line in _where_to_look(summary, addresses):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _figures(summary: Summary) -> RenderableType:
    result, parked = summary.result, sum(summary.result.parked.values())
    recognised = "" if "conflicting_duplicate" in result.aside else ", all recognised"
    table = _two_columns()
    table.add_row("purchases", f"{summary.purchases:,} by {summary.students:,} students; {summary.trainers:,} trainers")
    table.add_row("scheduled", Text(f"{result.scheduled:,}", "bold green"))
    table.add_row("parked", Text(f"{parked:,}", "bold yellow" if parked else "green"))
    for reason, count in result.parked.items():
        table.add_row("", f"{count:,} {reason}")
    table.add_row("sessions", Text(f"{result.sessions:,} on the calendar", "bold"))
    table.add_row("duplicates", f"{summary.duplicates_published:,} published{recognised}")
    for reason, count in result.aside.items():
        table.add_row("parked aside", Text(f"{count:,} {reason}", "yellow"))
    if result.p50_ms is not None and result.p99_ms is not None:
        table.add_row("paid to scheduled", f"half within {_time(result.p50_ms)}, 99 % within {_time(result.p99_ms)}")
    table.add_row("pace", f"{summary.purchases_per_second:,} purchases a second, in {result.seconds:.1f} s")
    table.add_row("invariants", _offenders(summary.offenders))
    return table


def _offenders(offenders: Mapping[str, list[Any]]) -> Text:
    broken = {name: ids for name, ids in offenders.items() if ids}
    if not broken:
        return Text("all hold", "bold green")
    return Text("\n".join(f"{name}: {len(ids)}, such as {ids[0]}" for name, ids in broken.items()), "bold red")


def _steps(journey: Journey) -> RenderableType:
    zone = ZoneInfo(journey.zone)
    table = _two_columns()
    table.add_row(
        _clock(journey.paid_at, zone), f"{journey.student_id} paid for {journey.sessions} of {journey.course_id}"
    )
    table.add_row(_after(journey, journey.enrolled_at), f"enrolled{_side_effects(journey)}")
    table.add_row(_after(journey, journey.allocated_at), f"{journey.trainer_id} is free for all {journey.sessions}")
    table.add_row(_after(journey, journey.scheduled_at), f"{journey.sessions} sessions on the calendar")
    for number, (start, end) in enumerate(journey.starts, 1):
        local = start.astimezone(zone)
        table.add_row(f"session {number}", f"{local:%a %d %b %Y, %H:%M} to {end.astimezone(zone):%H:%M}")
    return Group(table, Text(f"Times are those of {journey.zone}.", "dim"))


def _side_effects(journey: Journey) -> str:
    effects = [
        f"{journey.item_id} is out of the cart" if journey.item_id else "",
        f"{journey.coins} coins redeemed" if journey.coins else "",
    ]
    return "".join(f"; {effect}" for effect in effects if effect)


def _where_to_look(summary: Summary, addresses: Mapping[str, str]) -> list[str]:
    lines = [f"  {name:<9} {address}" for name, address in addresses.items()]
    if "http" in addresses:
        lines.append(f"  metrics   curl {addresses['http']}/metrics")
    if summary.example and "database" in addresses:
        query = f"SELECT * FROM purchase_journey WHERE payment_id = '{summary.example.payment_id}'"  # noqa: S608  shown, not run
        lines.append(f'  journey   psql "{addresses["database"]}" -c "{query}"')
    return lines


def _two_columns() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table


def _clock(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%H:%M:%S}"


def _after(journey: Journey, instant: datetime) -> str:
    return f"+ {_time((instant - journey.paid_at).total_seconds() * _MILLISECONDS)}"


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < _MILLISECONDS else f"{milliseconds / _MILLISECONDS:.1f} s"
