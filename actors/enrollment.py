"""payments.succeeded -> enrollments.created; payments.refunded -> enrollments.revoked

The one door for what comes from outside: new, a repetition, or a contradiction.
Replay-safe: a purchase is unique by its payment, an enrolment by its purchase, a refund by its id.
Parks: records that are no valid message; one that contradicts what its id said before.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic_core import from_json
from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome
from contracts.enrollments import EnrollmentCreated, EnrollmentRevoked
from contracts.payments import PaymentRefunded, PaymentSucceeded
from contracts.record import Record
from domain.identity import fingerprint, normalised
from errors import ConflictingDuplicate
from storage import directory, enrollments, parking, purchases, refunds
from storage.enrollments import Enrollment
from storage.parking import Parking
from storage.purchases import Purchase
from storage.refunds import Refund, StoredRefund

Payments = Sequence[tuple[Record, Purchase]]
Refunds = Sequence[tuple[Record, Refund]]


async def enroll(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Enrol each payer once, revoke what was refunded; park what contradicts the first message of its id."""
    paid = [(record, _purchase(record)) for record in records if isinstance(record.event, PaymentSucceeded)]
    back = [(record, _refund(record)) for record in records if isinstance(record.event, PaymentRefunded)]
    stored = await purchases.keep(db, [p for _, p in paid], {r.payment_id: r.refunded_at for _, r in back})
    agreed = {p.payment_id for _, p in paid if stored[p.payment_id] == p.fingerprint}
    if paid:
        await directory.number_students(db, (p.student_id for _, p in paid))
    refunded, parked = await _take_back(db, back) if back else (set(), [])
    if paid:
        await enrollments.enroll(db, sorted(agreed))
    enrolled = await enrollments.of_payments(db, agreed | refunded)
    created = [_created(e) for e in enrolled if e.payment_id in agreed]
    return Outcome(
        publish=[*created, *await _revocations(db, enrolled)],
        parked=[*await _contradictions(db, paid, stored), *parked],
    )


ACTOR = Actor("enrollment", (PaymentSucceeded.TOPIC, PaymentRefunded.TOPIC), enroll)


async def _take_back(db: AsyncConnection, back: Refunds) -> tuple[set[str], list[Parking]]:
    """Keep each refund once, with all that it changes behind the door.

    The purchases are there, and locked. Returns the payments that are refunded now, and the contradictions.
    """
    first = await refunds.keep(db, [refund for _, refund in back])
    agreed = {r.payment_id for _, r in back if first[r.refund_id].fingerprint == r.fingerprint}
    contradicting = [(record, r) for record, r in back if first[r.refund_id].fingerprint != r.fingerprint]
    if contradicting:
        await purchases.forget(db, (r.payment_id for _, r in contradicting))
    await purchases.refund(db, agreed)
    await enrollments.revoke(db, agreed)
    await parking.close_refunded(db, agreed)
    return agreed, [_other_refund(record, r, first[r.refund_id]) for record, r in contradicting]


async def _revocations(db: AsyncConnection, enrolled: Sequence[Enrollment]) -> list[EnrollmentRevoked]:
    """One event for each refund of an enrolment that is revoked."""
    revoked = {e.payment_id: (e, e.revoked_at) for e in enrolled if e.revoked_at is not None}
    if not revoked:
        return []
    return [_revoked(*revoked[refund.payment_id], refund) for refund in await refunds.of_payments(db, revoked)]


async def _contradictions(db: AsyncConnection, paid: Payments, stored: dict[str, bytes]) -> list[Parking]:
    others = [(record, p) for record, p in paid if stored[p.payment_id] != p.fingerprint]
    if not others:
        return []
    first = await purchases.payloads(db, {p.payment_id for _, p in others})
    return [_other_payment(record, p, first[p.payment_id]) for record, p in others]


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
        published_at=record.at,
    )


def _refund(record: Record) -> Refund:
    refund: PaymentRefunded = record.event
    return Refund(
        refund_id=refund.refund_id,
        payment_id=refund.payment_id,
        coins_returned=refund.coins_returned,
        refunded_at=refund.refunded_at,
        payload=(record.value or b"").decode(),
    )


def _said(record: Record) -> dict[str, Any]:
    said: dict[str, Any] = from_json(record.value or b"")
    return said


def _other_payment(record: Record, purchase: Purchase, first: dict[str, Any]) -> Parking:
    before, now = normalised(first), normalised(_said(record))
    fields = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    reason = ConflictingDuplicate(paymentId=purchase.payment_id, fields=fields)
    return Parking(reason, record, payment_id=purchase.payment_id, student_id=purchase.student_id)


def _other_refund(record: Record, refund: Refund, first: StoredRefund) -> Parking:
    reason = ConflictingDuplicate(refundId=refund.refund_id, fields=refunds.differing_fields(first, refund))
    return Parking(reason, record, payment_id=refund.payment_id)


def _created(enrollment: Enrollment) -> EnrollmentCreated:
    return EnrollmentCreated(
        enrollment_id=enrollment.enrollment_id,
        payment_id=enrollment.payment_id,
        student_id=enrollment.student_id,
        course_id=enrollment.course_id,
        version=1,
        enrolled_at=enrollment.enrolled_at,
    )


def _revoked(enrollment: Enrollment, revoked_at: datetime, refund: StoredRefund) -> EnrollmentRevoked:
    return EnrollmentRevoked(
        enrollment_id=enrollment.enrollment_id,
        payment_id=enrollment.payment_id,
        student_id=enrollment.student_id,
        course_id=enrollment.course_id,
        refund_id=refund.refund_id,
        coins_returned=refund.coins_returned,
        version=enrollment.version,
        refunded_at=refund.refunded_at,
        revoked_at=revoked_at,
    )
