"""enrollments.created -> coins.redeemed; enrollments.revoked -> coins.returned

Replay-safe: a redemption is unique per payment in the ledger, a return per refund.
Parks: a payment that redeems more coins than its student has, which holds back nothing else; an
enrolment that this database does not hold.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, News, Outcome
from actors.unknown import park_unknown
from contracts.coins import CoinsRedeemed, CoinsReturned
from contracts.enrollments import EnrollmentCreated, EnrollmentRevoked
from contracts.record import Record
from errors import InsufficientCoins
from storage import coins, returns
from storage.coins import Due, Redemption
from storage.parking import Parking
from storage.returns import Owed, Return, Returned


async def book(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Redeem the coins of each payment once, in the order of success, never below zero; give back the refunded."""
    carriers = {record.event.payment_id: record for record in records}
    revoked = {r.event.payment_id for r in records if isinstance(r.event, EnrollmentRevoked)}
    known, due = await coins.due(db, sorted(carriers))
    owed = await returns.owed(db, sorted(revoked)) if revoked else []
    # Coins of a refunded purchase are the business of its revocation, whichever event comes first.
    booked = _booked([d for d in due if not d.refunded or d.payment_id in revoked], owed)
    await coins.book(db, booked.redeemed, booked.returned)
    redeemed = await coins.redemptions(db, sorted(carriers))
    returned = await returns.returned(db, sorted(revoked)) if revoked else []
    left_over = {payment_id for payment_id, refunded in known.items() if refunded} - revoked
    settled = known.keys() - left_over - {d.payment_id for d, _ in booked.too_many}
    return Outcome(
        publish=[*map(_redeemed, redeemed), *map(_returned, returned)],
        parked=park_unknown(records, known) + [_short(carriers[d.payment_id], d, left) for d, left in booked.too_many],
        done=[str(record.event.enrollment_id) for record in records if record.event.payment_id in settled],
        news=News(frozenset(r.student_id for r in returned)),
    )


ACTOR = Actor("coins", (EnrollmentCreated.TOPIC, EnrollmentRevoked.TOPIC), book, subject="enrollment_id")


@dataclass(frozen=True, slots=True)
class _Booked:
    """Who redeems and what is given back; the payments that cannot pay, with the balance that was left for them."""

    redeemed: list[Due] = field(default_factory=list)
    returned: list[Return] = field(default_factory=list)
    too_many: list[tuple[Due, int]] = field(default_factory=list)


def _booked(due: Sequence[Due], owed: Sequence[Owed]) -> _Booked:
    """What this batch writes, one payment after the other in the order of success."""
    booked = _Booked()
    balances = {d.student_id: d.balance for d in due}
    spent: dict[str, int] = defaultdict(int)
    refunds: dict[str, list[Owed]] = defaultdict(list)
    for o in owed:
        refunds[o.payment_id].append(o)

    def give_back(payment_id: str, redeemed: int) -> None:
        for given in _returns(refunds[payment_id], redeemed):
            booked.returned.append(given)
            balances[given.student_id] = balances.get(given.student_id, 0) + given.coins

    for payment_id, owing in list(refunds.items()):
        give_back(payment_id, owing[0].redeemed)
    for d in due:
        left = d.available - spent[d.student_id] if d.refunded else balances[d.student_id]
        if d.coins <= left:
            booked.redeemed.append(d)
            balances[d.student_id] -= d.coins
            spent[d.student_id] += d.coins
            give_back(d.payment_id, d.coins)
        elif not d.refunded:
            booked.too_many.append((d, left))
    return booked


def _returns(owing: Sequence[Owed], redeemed: int) -> list[Return]:
    """What refunds of one payment give back of the coins that it redeemed, together never more than these."""
    given: list[Return] = []
    left = redeemed - owing[0].returned if owing else 0
    for o in owing:
        back = min(redeemed if o.wanted is None else o.wanted, left)
        if back > 0:
            given.append(Return(o.refund_id, o.payment_id, o.student_id, back, o.refunded_at))
            left -= back
    return given


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


def _returned(returned: Returned) -> CoinsReturned:
    return CoinsReturned(
        refund_id=returned.refund_id,
        payment_id=returned.payment_id,
        student_id=returned.student_id,
        coins=returned.coins,
        version=1,
        returned_at=returned.returned_at,
    )
