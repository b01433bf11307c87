"""One Kafka record, as read: the bytes, where they stood, and what they say."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple


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
