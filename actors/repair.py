"""repairs.requested -> repairs.completed, and the events of the step repaired

Replay-safe: a command is unique by its id; known again, it is answered as the first time.
Parks: records that are no valid command. Whatever can be read is answered, if only by a refusal.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, News, Outcome
from actors.repairing.answering import Judged, answer_to, entry_of, kind_of, told_before
from actors.repairing.bulk import EXPAND, refuse_cancelled
from actors.repairing.catching_up import Behind, CatchingUp
from actors.repairing.commands import CARRY
from actors.repairing.editing import edit_and_retry
from actors.repairing.locating import locate
from actors.repairing.subjects import Done, Subject, Tools, Unchanged, refusal_of
from contracts import signing
from contracts.record import Record
from contracts.repairs import EditAndRetry, Effect, Refusal, RepairCommand, RepairCompleted, Retry
from contracts.signing import Signature
from errors import BadValue, Parked, Refused
from storage import effects, parked, repairs, targets
from storage.effects import Scope, Snapshot
from storage.engine import translated
from storage.repairs import Answered

_log = structlog.get_logger("firstbell.repair")


@dataclass(frozen=True, slots=True)
class Repairer:
    """The actor's handler. `keys`: commands must be signed by one of them, where there are any."""

    tools: Tools
    keys: Mapping[str, bytes]
    others: CatchingUp

    async def handle(self, db: AsyncConnection, records: Sequence[Record]) -> Outcome:
        """Carry out one command: signature, then its id, then what it asks for."""
        (record,) = records
        command: RepairCommand = record.event
        value_hash = hashlib.sha256(record.value or b"").digest()
        try:
            signature = signing.verify(record.value, record.headers, self.keys) if self.keys else None
            await repairs.take_turn(db, command.command_id)
            known = await repairs.answered(db, command.command_id)
            if known is not None:
                return await _again(db, record, known, value_hash)
            _refuse_expired(signature, record.at)
        except Refused as refused:
            return await self._reject(db, record, value_hash, refused)
        return await self._carry_out(db, record, value_hash, signature.key_id if signature else None)

    async def _reject(self, db: AsyncConnection, record: Record, value_hash: bytes, refused: Refused) -> Outcome:
        """Refuse what was not even looked at: it is kept in the audit, and occupies no id."""
        command: RepairCommand = record.event
        _log.error(
            "command rejected", code=refused.code, command_id=command.command_id, requested_at=record.at.isoformat()
        )
        judged = Judged("refused", Done(refusal=refusal_of(refused)), [], None)
        answer = answer_to(command, judged, None)
        await repairs.record(db, entry_of(record, value_hash, answer, [], accepted=False))
        return Outcome(publish=[answer])

    async def _carry_out(self, db: AsyncConnection, record: Record, value_hash: bytes, key_id: str | None) -> Outcome:
        command: RepairCommand = record.event
        await self.others.before(record.at)
        subject, scope = await locate(db, command, record.at)
        judged = await self._judge(db, command, subject, scope)
        await self.others.instead_of(judged.done.refusal, record.at)
        answer = answer_to(command, judged, subject)
        if command.dry_run:
            return Outcome(publish=[answer])
        events = [] if answer.items else list(judged.done.outcome.publish)
        await repairs.record(db, entry_of(record, value_hash, answer, events, key_id=key_id))
        outcome = judged.done.outcome
        return Outcome(publish=[*outcome.publish, answer], news=outcome.news, stored=outcome.stored)

    async def _judge(self, db: AsyncConnection, command: RepairCommand, subject: Subject, scope: Scope) -> Judged:
        """Do it in a savepoint; a refusal, a dry run and a world that has changed roll it back."""
        before = await effects.snapshot(db, scope)
        savepoint = await db.begin_nested()
        try:
            await refuse_cancelled(db, command)
            done, written = await self._do(db, command, subject, scope, before)
            _refuse_changed(command, written)
        except Unchanged:
            await savepoint.rollback()
            return Judged("unchanged", Done(), [], effects.digest([]))
        except (Refused, Parked) as reason:
            await savepoint.rollback()
            if isinstance(command, Retry) and subject.row and not command.dry_run:
                # Refused or not, it was a try: the next wake-up needs an id of its own.
                await parked.attempt(db, subject.row.id)
            return Judged("refused", Done(refusal=refusal_of(reason)), [], None)
        except DBAPIError as error:
            await savepoint.rollback()
            ours = translated(error)
            if not isinstance(ours, BadValue):
                raise ours from error
            if isinstance(command, Retry) and subject.row and not command.dry_run:
                await parked.attempt(db, subject.row.id)
            refusal = Refusal(code="value_refused", message="The database refuses a value of this command.")
            return Judged("refused", Done(refusal=refusal), [], None)
        await (savepoint.rollback() if command.dry_run else savepoint.commit())
        return Judged(kind_of(command, done, written), done, written, effects.digest(written))

    async def _do(
        self, db: AsyncConnection, command: RepairCommand, subject: Subject, scope: Scope, before: Snapshot
    ) -> tuple[Done, list[Effect]]:
        if isinstance(command, EditAndRetry):
            return await edit_and_retry(db, self.tools, command, subject, scope)
        if expand := EXPAND.get(type(command)):
            return Done(Outcome(publish=await expand(db, command))), []
        done = await CARRY[type(command)](db, self.tools, command, subject)
        return done, effects.difference(before, await effects.snapshot(db, scope))


def actor(tools: Tools, keys: Mapping[str, bytes], behind: Behind | None) -> Actor:
    """The repair actor; each command has a transaction of its own, since it locks in the order of its own needs."""
    # Answers wait for the end of their batch, and so does whoever wants its partitions.
    repairer = Repairer(tools, keys, CatchingUp(behind))
    return Actor("repair", (RepairCommand.TOPIC,), repairer.handle, one_by_one=True, most=50)


async def _again(db: AsyncConnection, record: Record, known: Answered, value_hash: bytes) -> Outcome:
    """Answer as the first time, with the same events.

    Whoever died in between has not looked who waits for what this brought, so it is brought again:
    who has seen it is not woken twice.
    """
    if known.value_hash != value_hash:
        raise Refused("command_id_used", "Another command has this id; give yours an id of its own.")
    answer = RepairCompleted.model_validate(known.answer)
    expand = EXPAND.get(type(record.event))
    expanded = await expand(db, record.event) if expand and answer.outcome != "refused" else []
    payment_id = answer.payment_id
    target = await targets.find(db, payment_id=payment_id) if payment_id else None
    courses = dict.fromkeys(await targets.freed(db, payment_id) if payment_id else (), answer.completed_at)
    students = frozenset([target.student_id] if target and target.student_id else ())
    return Outcome(
        publish=[*map(told_before, known.events), *expanded, answer],
        news=News(students, courses),
        stored=[(record, item) for item in await parked.open_items(db, payment_id, answer.parked_id)],
    )


def _refuse_expired(signature: Signature | None, at: datetime) -> None:
    if signature is not None and signing.expired(signature, at):
        raise Refused("expired", "The signature had expired when the command came.", keyId=signature.key_id)


def _refuse_changed(command: RepairCommand, written: list[Effect]) -> None:
    if command.expected_digest and effects.digest(written) != command.expected_digest:
        raise Refused("world_changed", "It would write other rows by now than the dry run showed; look again.")
