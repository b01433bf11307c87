"""Enrolment events about purchases that this database does not hold: they are kept, never dropped."""

from collections.abc import Collection, Sequence

from contracts.record import Record
from errors import EnrollmentUnknown
from storage.parking import Parking


def park_unknown(records: Sequence[Record], known: Collection[str]) -> list[Parking]:
    """A parking for every record whose payment id is not among `known`."""
    return [
        Parking(
            EnrollmentUnknown(enrollmentId=str(record.event.enrollment_id), paymentId=record.event.payment_id),
            record,
            subject=str(record.event.enrollment_id),
            payment_id=record.event.payment_id,
            student_id=record.event.student_id,
        )
        for record in records
        if record.event.payment_id not in known
    ]
