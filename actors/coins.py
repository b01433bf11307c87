"""enrollments.created -> coins.redeemed

Replay-safe: a redemption is unique per payment in the ledger.
Parks: a payment that redeems more coins than its student has, which holds back nothing else; an
enrolment that this database does not hold.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome
from actors.unknown import park_unknown
from contracts.coins import CoinsRedeemed
from contracts.enrollments import EnrollmentCreated
from contracts.record import Record
from errors import InsufficientCoins
from storage import coins
from storage.coins import Due, Redemption
from storage.parking import Parking


async def redeem(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Redeem the coins of each payment once, in the order of success, never below zero."""
    payment_ids = sorted({record.event.payment_id for record in records})
    known, due = await coins.due(db, payment_ids)
    affordable, too_many = _affordable(due)
    await coins.redeem(db, affordable)
    redeemed = await coins.redemptions(db, payment_ids)
    settled = known - {d.payment_id for d, _ in too_many}
    carriers = {record.event.payment_id: record for record in records}
    return Outcome(
        publish=[_redeemed(redemption) for redemption in redeemed],
        parked=park_unknown(records, known) + [_short(carriers[d.payment_id], d, left) for d, left in too_many],
        done=[str(record.event.enrollment_id) for record in records if record.event.payment_id in settled],
    )


ACTOR = Actor("coins", (EnrollmentCreated.TOPIC,), redeem, subject="enrollment_id")


def _affordable(due: Sequence[Due]) -> tuple[list[Due], list[tuple[Due, int]]]:
    """Who can pay, one after the other; the others with the balance that was left for them."""
    balances = {d.student_id: d.balance for d in due}
    affordable, too_many = [], []
    for d in due:
        if d.coins <= balances[d.student_id]:
            balances[d.student_id] -= d.coins
            affordable.append(d)
        else:
            too_many.append((d, balances[d.student_id]))
    return affordable, too_many


def _short(record: Record, due: Due, balance: int) -> Parking:
    return Parking(
        InsufficientCoins(needed=due.coins, balance=balance),
        record,
        subject=str(due.enrollment_id),
        payment_id=due.payment_id,
        enrollment_id=due.enrollment_id,
        student_id=due.student_id,
    )


def _redeemed(redemption: Redemption) -> CoinsRedeemed:
    return CoinsRedeemed(
        payment_id=redemption.payment_id,
        student_id=redemption.student_id,
        coins=redemption.coins,
        version=1,
        redeemed_at=redemption.redeemed_at,
    )
