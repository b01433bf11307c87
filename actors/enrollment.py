"""payments.succeeded -> enrollments.created

The one door for what comes from outside: new, a repetition, or a contradiction.
Replay-safe: a purchase is unique by its payment, an enrolment by its purchase.
Parks: records that are no valid payment; one that contradicts what its payment id said before.
"""

from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json
from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome
from contracts.enrollments import EnrollmentCreated
from contracts.payments import PaymentSucceeded
from contracts.record import Record
from domain.identity import fingerprint, normalised
from errors import ConflictingDuplicate
from storage import directory, enrollments, purchases
from storage.enrollments import Enrollment
from storage.parking import Parking
from storage.purchases import Purchase


async def enroll(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Enrol each payer once; park what contradicts the first message of its payment."""
    offered = [_purchase(record) for record in records]
    stored = await purchases.keep(db, offered)
    await directory.number_students(db, (p.student_id for p in offered))
    pairs = list(zip(records, offered, strict=True))
    agreed = [p.payment_id for _, p in pairs if stored[p.payment_id] == p.fingerprint]
    enrolled = await enrollments.enroll(db, sorted(set(agreed)))
    contradictions = [(r, p) for r, p in pairs if stored[p.payment_id] != p.fingerprint]
    first = await purchases.payloads(db, {p.payment_id for _, p in contradictions}) if contradictions else {}
    return Outcome(
        publish=[_created(enrollment) for enrollment in enrolled],
        parked=[_contradiction(r, p, first[p.payment_id]) for r, p in contradictions],
    )


ACTOR = Actor("enrollment", (PaymentSucceeded.TOPIC,), enroll)


def _purchase(record: Record) -> Purchase:
    payment: PaymentSucceeded = record.event
    return Purchase(
        payment_id=payment.payment_id,
        student_id=payment.student_id,
        course_id=payment.metadata.course_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        succeeded_at=payment.succeeded_at,
        coins_redeemed=payment.coins_redeemed,
        payload=(record.value or b"").decode(),
        fingerprint=fingerprint(_said(record)),
    )


def _said(record: Record) -> dict[str, Any]:
    said: dict[str, Any] = from_json(record.value or b"")
    return said


def _contradiction(record: Record, purchase: Purchase, first: dict[str, Any]) -> Parking:
    before, now = normalised(first), normalised(_said(record))
    fields = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    reason = ConflictingDuplicate(paymentId=purchase.payment_id, fields=fields)
    return Parking(reason, record, payment_id=purchase.payment_id, student_id=purchase.student_id)


def _created(enrollment: Enrollment) -> EnrollmentCreated:
    return EnrollmentCreated(
        enrollment_id=enrollment.enrollment_id,
        payment_id=enrollment.payment_id,
        student_id=enrollment.student_id,
        course_id=enrollment.course_id,
        version=1,
        enrolled_at=enrollment.enrolled_at,
    )
