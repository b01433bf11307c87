"""`app.py journey`: one purchase across all actors, told in the order in which it happened."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from commands.parked import NothingFound
from commands.printing import instant, lasted, pairs, plain, say, table
from commands.session import AsJson, complete, joined, print_json, reading, servers, session
from commands.words import OUTCOMES, reason_in_words
from storage import journeys
from storage.journeys import Happening

# What a happening says about itself, by its facts.
_SAYS = {
    "paid": "{amount_minor} {currency} (minor units) for the course {course_id}",
    "received": "kept by Firstbell",
    "enrolled": "as {enrollment_id}",
    "cart cleared": "of {bought}",
    "coins redeemed": "{coins} coins",
    "coins returned": "{coins} coins",
    "allocated": "to {trainer_id}, as {allocation_id}",
    "scheduled": "{sessions} sessions",
    "parked": "{actor}, {reason}: {wrong}",
    "resolved": "{actor}, {reason}, by {closed_by}",
    "dismissed": "{actor}, {reason}, by {closed_by}",
    "repair": "{command} by {requested_by} ({reason}): {said}",
    "refunded": "{refund_id}",
    "revoked": "the enrolment",
    "released": "the trainer's time from {effective_at} on",
    "changed": "{sessions} sessions moved or cancelled",
    "cancelled": "what was left of the series",
}


def journey(
    any_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="A payment, enrolment, allocation, parked item, refund, command or student."),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one purchase across all actors, by any id; by a student's id, what he has bought."""
    with session() as settings, servers(joined(settings), kafka=False) as addresses:
        purchases, found = complete(_look(addresses.database_url, any_id))
        if not found and not purchases:
            raise NothingFound(f"No purchase here has the id {plain(any_id)}.")
    if as_json:
        print_json({"purchases": purchases} if not found else _as_json(found))
    elif found:
        _show(found)
    else:
        table(
            (list(row.values()) for row in purchases), *("payment", "course", "state", "sessions", "paid", "parked for")
        )
        say("One of them: app.py journey PAYMENT", "dim")


async def _look(database_url: str, any_id: str) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The student's purchases, or the journey of the one purchase."""
    async with reading(database_url) as db:
        payments = await journeys.payments_of(db, any_id)
        if payments:
            return [], await journeys.journey(db, payments[0])
        return await journeys.purchases_of(db, any_id), None


def _as_json(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "timeline": [{"at": at, "what": what, **facts} for at, what, facts in found["timeline"]]}


def _show(found: dict[str, Any]) -> None:
    say(f"Purchase {found['payment_id']}: {found.get('state') or 'not known here'}", "bold")
    names = ("student_id", "course_id", "enrollment_id", "allocation_id", "trainer_id", "version")
    pairs({name: found.get(name) for name in names} | _wishes(found.get("metadata") or {}), indent=2)
    _timeline(found["timeline"])
    zone = _zone(found.get("metadata") or {})
    for rows, title in ((found["sessions"], "Sessions"), (found["former"], "Former times")):
        if rows:
            table((_times(row, zone) for row in rows), *rows[0], title=f"{title}, in the time of {zone.key}")


def _timeline(happenings: Sequence[Happening]) -> None:
    rows, before = [], None
    for at, what, facts in happenings:
        gap = "" if before is None else lasted(at - before)
        rows.append((instant(at), gap, what, _said(what, facts)))
        before = at
    table(rows, "when", "after", "what", "")


def _said(what: str, facts: dict[str, Any]) -> str:
    """A happening in words; its values came from outside, so they are put in as text and escaped afterwards."""
    known = {name: "-" if value is None else value for name, value in facts.items()}
    if what == "cart cleared":
        known["bought"] = facts["item_id"] or f"the course {facts['course_id']}"
    if what == "parked":
        known["wrong"] = reason_in_words(facts["reason"]).wrong
    if what == "repair":
        known["said"] = facts["refusal"] or OUTCOMES.get(facts["outcome"], facts["outcome"])
    if facts.get("provisional"):
        return _SAYS[what].format(**known) + ", provisionally"
    return _SAYS[what].format(**known)


def _wishes(metadata: dict[str, Any]) -> dict[str, Any]:
    names = ("sessionCount", "date", "timeSlot", "daysOfWeek", "timezone", "learningMode")
    return {name: metadata.get(name) for name in names}


def _zone(metadata: dict[str, Any]) -> ZoneInfo:
    try:
        return ZoneInfo(metadata.get("timezone") or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _times(row: dict[str, Any], zone: ZoneInfo) -> list[object]:
    """The values of a session, its times on the wall clock of the series."""
    values = list(row.values())
    return [values[0], *(_wall(value, zone) for value in values[1:3]), *values[3:]]


def _wall(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%a %Y-%m-%d %H:%M")
