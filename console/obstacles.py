"""What stands in the way of being ready, asked of the servers themselves."""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from errors import FirstbellError
from storage.engine import transaction
from storage.schema import needed_version, schema_version

_PATIENCE = 2


async def kafka_obstacle(producer: AIOKafkaProducer | None) -> dict[str, str]:
    """Why Kafka is of no use now; empty when it answers."""
    try:
        async with asyncio.timeout(_PATIENCE):
            if producer:
                await producer.client.fetch_all_metadata()
    except (KafkaError, TimeoutError, OSError) as error:
        return {"kafka": f"does not answer ({type(error).__name__})"}
    return {}


async def database_obstacle(engine: AsyncEngine) -> dict[str, str]:
    """Why PostgreSQL is of no use now; empty when it answers and its schema is new enough."""
    try:
        async with asyncio.timeout(_PATIENCE), transaction(engine) as db:
            found = await schema_version(db)
    except (FirstbellError, TimeoutError) as error:
        return {"database": f"does not answer ({type(error).__name__})"}
    if found is None or found < needed_version():
        return {"database": f"has schema {found}, needs {needed_version()}"}
    return {}
