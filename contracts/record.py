"""One Kafka record, as read: the bytes, where they stood, and what they say."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

# Whoever stamps records himself may write any number, also a negative one; dates end with the year 9999.
_LATEST_MS = 253_402_300_799_000


def written_at(timestamp_ms: int) -> datetime:
    """When a record was written, by its Kafka timestamp (milliseconds since 1970), kept within 1970 to 9999."""
    return datetime.fromtimestamp(min(max(timestamp_ms, 0), _LATEST_MS) / 1000, UTC)


class Record(NamedTuple):  # made for every record of every hop: a frozen dataclass takes four times as long
    """A record of one of our topics; `event` is its decoded contract (or tombstone).

    `topic` is the plain name, without a deployment's prefix. Partition and offset are information
    for people, never an identity: a rebuilt Kafka counts from 0 again.
    """

    topic: str
    partition: int
    offset: int
    at: datetime
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    event: Any = None
