"""How to reach Kafka: the client settings that were found to lose nothing and to recover by themselves."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from faststream.kafka import KafkaBroker
from faststream.kafka.prometheus import KafkaPrometheusMiddleware
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from prometheus_client import REGISTRY

from errors import FirstbellError
from settings import Settings


class CredentialsMissing(FirstbellError):
    """The settings ask for SASL, and do not say as whom."""


def broker_of(settings: Settings, bootstrap_servers: str) -> KafkaBroker:
    """FastStream's side of one process, not connected yet: it consumes only, and makes no topics by the way."""
    hold_back_failed_metadata()
    return KafkaBroker(
        bootstrap_servers.split(","),
        consumer_only=True,
        allow_auto_create_topics=False,
        client_id="firstbell",
        graceful_timeout=settings.graceful_timeout,
        security=_security(settings),
        logger=_library_log(),
        log_level=logging.DEBUG,
        apply_types=False,
        middlewares=[_prometheus()],
    )


@cache
def _prometheus() -> KafkaPrometheusMiddleware:
    """FastStream's own metrics, once a process: what it receives, in how many seconds, how it ended.

    Sizes it cannot tell, since it is not given the bodies: two buckets will do.
    """
    return KafkaPrometheusMiddleware(
        registry=REGISTRY, app_name="firstbell", received_messages_size_buckets=(1.0, float("inf"))
    )


def producer_of(settings: Settings, bootstrap_servers: str) -> AIOKafkaProducer:
    """The producer of one process, not started yet.

    Not idempotent: after an outage longer than the deadline of a publish an idempotent one never
    recovers, and our consumers are idempotent. No linger: it would be added to every hop.
    """
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        enable_idempotence=False,
        linger_ms=0,
        max_batch_size=256 * 1024,
        client_id="firstbell",
        **client_security(settings),
    )


def hold_back_failed_metadata(seconds: float = 0.25) -> None:
    """Let aiokafka ask for metadata at a bearable pace while the broker is away.

    It asks again at once for as long as a leader is unknown: 25 seconds of CPU in a 29 s outage. There
    is no public hook; this wraps the one method, and does nothing when it is called twice.
    """
    original = AIOKafkaClient._metadata_update  # noqa: SLF001
    if getattr(original, "held_back", False):
        return

    async def held_back(client: AIOKafkaClient, *args: Any, **kwargs: Any) -> bool:
        updated: bool = await original(client, *args, **kwargs)
        if not updated:
            await asyncio.sleep(seconds)
        return updated

    held_back.held_back = True  # type: ignore[attr-defined]
    AIOKafkaClient._metadata_update = held_back  # noqa: SLF001


def _library_log() -> logging.Logger:
    """FastStream's own log: errors only, through our handler (its default logger brings one of its own)."""
    logger = logging.getLogger("kafka.faststream")
    logger.setLevel(logging.ERROR)
    return logger


@asynccontextmanager
async def admin_client(settings: Settings, bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id="firstbell", **client_security(settings))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def client_security(settings: Settings) -> dict[str, Any]:
    """The security arguments of a plain aiokafka client."""
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if "SSL" in settings.kafka_security_protocol:
        options["ssl_context"] = _tls(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        username, password = _credentials(settings)
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": username,
            "sasl_plain_password": password,
        }
    return options


def _security(settings: Settings) -> BaseSecurity:
    tls = _tls(settings) if "SSL" in settings.kafka_security_protocol.replace("SASL", "") else None
    if not settings.kafka_security_protocol.startswith("SASL"):
        return BaseSecurity(ssl_context=tls)
    kind = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    username, password = _credentials(settings)
    return kind[settings.kafka_sasl_mechanism](username, password, ssl_context=tls)


def _credentials(settings: Settings) -> tuple[str, str]:
    if settings.kafka_sasl_username is None or settings.kafka_sasl_password is None:
        raise CredentialsMissing(
            f"KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol} needs KAFKA_SASL_USERNAME and"
            " KAFKA_SASL_PASSWORD"
        )
    return settings.kafka_sasl_username, settings.kafka_sasl_password.get_secret_value()


def _tls(settings: Settings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
