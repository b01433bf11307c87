"""Every topic: who writes it, how it is kept, and the contract of its records."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from contracts import allocations, carts, coins, enrollments, feeds, parking, payments, repairs, sessions
from contracts.base import Event


@dataclass(frozen=True)
class TopicSpec:
    """One topic.

    outside     outsiders write it: LogAppendTime and uncompressed, so that the broker guards us
    compacted   kept by key instead of by age
    tombstones  a null value means that what the key names was deleted
    """

    name: str
    contract: type[Event] | TypeAdapter[Any]
    outside: bool = False
    compacted: bool = False
    tombstones: bool = False


def _ours(contract: type[Event]) -> TopicSpec:
    return TopicSpec(contract.TOPIC, contract)


def _outside(contract: type[Event]) -> TopicSpec:
    return TopicSpec(contract.TOPIC, contract, outside=True)


def _feed(contract: type[Event], *, compacted: bool = False) -> TopicSpec:
    return TopicSpec(contract.TOPIC, contract, outside=True, compacted=compacted, tombstones=True)


TOPICS: dict[str, TopicSpec] = {
    spec.name: spec
    for spec in (
        _outside(payments.PaymentSucceeded),
        _outside(payments.PaymentRefunded),
        _ours(enrollments.EnrollmentCreated),
        _ours(enrollments.EnrollmentRevoked),
        _ours(carts.CartCleared),
        _ours(coins.CoinsRedeemed),
        _ours(coins.CoinsReturned),
        _ours(allocations.AllocationApproved),
        _ours(allocations.AllocationReleased),
        _ours(sessions.SessionsScheduled),
        _ours(sessions.SessionsCancelled),
        _feed(feeds.StudentChanged, compacted=True),
        _feed(feeds.TrainerChanged, compacted=True),
        _feed(feeds.TrainerBusy),
        _feed(feeds.CartChanged),
        # A credit is an entry of a ledger: there is no deleting it.
        _outside(feeds.CoinsCredited),
        TopicSpec(repairs.RepairCommand.TOPIC, repairs.repair_requested, outside=True),
        _ours(repairs.RepairCompleted),
        _ours(parking.FulfilmentParked),
    )
}
