"""Publishing as an outsider does: a plain Kafka client that knows nothing of the service."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from actors.connection import client_security
from errors import FirstbellError
from settings import Settings
from traffic.messages import Draft, Message

_MOST_UNACKNOWLEDGED = 1_000


class NotPublished(FirstbellError):
    """Kafka does not take what is to be published; the last argument is a sentence for people."""


@asynccontextmanager
async def producer(kafka: str, settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer, to which a record is written when every replica has it. Raises: NotPublished."""
    client = AIOKafkaProducer(
        bootstrap_servers=kafka.split(","),
        acks="all",
        linger_ms=2,
        client_id="firstbell-sample",
        **client_security(settings),
    )
    try:
        try:
            await client.start()
        except KafkaError as error:
            raise NotPublished(f"Kafka does not answer at {kafka}.") from error
        yield client
    finally:
        await client.stop()


async def publish(
    client: AIOKafkaProducer,
    drafts: Iterable[Draft],
    stamp: Callable[[Draft], Message],
    *,
    rate: float = 0,
    prefix: str = "",
    progress: Callable[[int], None] = lambda _sent: None,
) -> int:
    """Publish in order, `rate` records a second (0: as fast as possible); return how many, all acknowledged.

    `stamp` makes each draft a message at the moment when it is sent; `progress` hears how many were.
    Raises: NotPublished.
    """
    clock = asyncio.get_running_loop().time
    started, sent, open_sends = clock(), 0, set[asyncio.Future[Any]]()
    try:
        for draft in drafts:
            if rate and (early := started + sent / rate - clock()) > 0:
                await asyncio.sleep(early)
            open_sends.add(await _send(client, stamp(draft), prefix))
            sent += 1
            progress(sent)
            if len(open_sends) >= _MOST_UNACKNOWLEDGED:
                open_sends = await _acknowledged(open_sends)
        while open_sends:
            open_sends = await _acknowledged(open_sends)
    except KafkaError as error:
        raise NotPublished(
            f"Kafka did not take a record: {error!r}. Is the service up, and were topics made?"
        ) from error
    return sent


async def _send(client: AIOKafkaProducer, message: Message, prefix: str) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = await client.send(
        prefix + message.topic, value=message.value, key=message.key, headers=list(message.headers)
    )
    # One failure ends the whole: those of the others are not worth a complaint of the event loop.
    future.add_done_callback(lambda sent: sent.cancelled() or sent.exception())
    return future


async def _acknowledged(sends: set[asyncio.Future[Any]]) -> set[asyncio.Future[Any]]:
    """Wait for some of them, and return those that are still open."""
    done, still_open = await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
    for future in done:
        future.result()
    return still_open
