"""The derived events of the hand-written pipeline, as dictionaries for json.dumps."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID


def enrolled(enrollment_id: UUID, payment_id: str, student: str, course: str, at: str) -> dict[str, Any]:
    """The payload of `enrollments.created`."""
    return {
        "enrollmentId": str(enrollment_id),
        "paymentId": payment_id,
        "studentId": student,
        "courseId": course,
        "version": 1,
        "enrolledAt": at,
    }


def approved(
    created: dict[str, Any], allocation_id: UUID, trainer: str, wish: dict[str, Any], at: str
) -> dict[str, Any]:
    """The payload of `allocations.approved`."""
    return {
        "allocationId": str(allocation_id),
        "enrollmentId": created["enrollmentId"],
        "paymentId": created["paymentId"],
        "studentId": created["studentId"],
        "courseId": created["courseId"],
        "trainerId": trainer,
        "sessionCount": wish["purchaseTier"],
        "sessionCountSource": "purchaseTier",
        "provisional": False,
        "version": 1,
        "approvedAt": at,
    }


def scheduled(
    allocated: dict[str, Any], scheduled_at: datetime, starts: Sequence[int], ends: Sequence[int]
) -> dict[str, Any]:
    """The payload of `sessions.scheduled`; times are epoch seconds."""
    return {
        "allocationId": allocated["allocationId"],
        "paymentId": allocated["paymentId"],
        "studentId": allocated["studentId"],
        "trainerId": allocated["trainerId"],
        "courseId": allocated["courseId"],
        "version": 1,
        "sessions": [
            {"number": number, "startsAt": _instant(start), "endsAt": _instant(end)}
            for number, (start, end) in enumerate(zip(starts, ends, strict=True), 1)
        ],
        "scheduledAt": scheduled_at.isoformat(),
    }


@lru_cache(maxsize=65536)
def _instant(epoch_seconds: int) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat()
