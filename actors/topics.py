"""The topics, created by us with stated settings: auto-created ones would have a single partition."""

import asyncio
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from contracts.topics import TOPICS, TopicSpec
from settings import Settings

_DAY_MS = 24 * 60 * 60 * 1000


async def create_topics(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """Create what is missing, and return the names of the topics that are new once they can be written to.

    Raises: KafkaError when the broker refuses one for another reason than that it exists; TimeoutError
    when a new one has no leader after thirty seconds.
    """
    existing = set(await admin.list_topics())
    missing = [
        NewTopic(
            settings.topic_prefix + spec.name,
            settings.partitions,
            settings.replication_factor,
            topic_configs=topic_config(spec, settings),
        )
        for spec in TOPICS.values()
        if settings.topic_prefix + spec.name not in existing
    ]
    if not missing:
        return []
    response = await admin.create_topics(missing)
    created = []
    for name, code, *detail in response.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(name)
        elif error is not TopicAlreadyExistsError:
            raise error(f"{name}: {detail[0] if detail else ''}")
    async with asyncio.timeout(30):
        while not all(map(_is_led, await admin.describe_topics(created))):  # noqa: ASYNC110  only asking tells
            await asyncio.sleep(0.02)
    return created


def _is_led(topic: dict[str, Any]) -> bool:
    """Whether every partition has a leader; whoever writes earlier is refused and has to try again."""
    return bool(topic["partitions"]) and all(partition["leader"] >= 0 for partition in topic["partitions"])


async def differing_topics(admin: AIOKafkaAdminClient, settings: Settings) -> dict[str, dict[str, str]]:
    """The settings in which topics that exist already differ from ours: {topic: {setting: value found}}.

    A topic that upstream made is left as it is; but without the broker's stamp and its unpacking,
    what guards us against back-dated records and compressed bombs is missing.
    """
    wanted = {settings.topic_prefix + spec.name: topic_config(spec, settings) for spec in TOPICS.values()}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted]
    differing: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for _, _, _, name, entries in response.resources:
            found = {entry[0]: entry[1] for entry in entries}
            if wrong := {key: found[key] for key, value in wanted[name].items() if found.get(key, value) != value}:
                differing[name] = wrong
    return differing


async def least_retention(admin: AIOKafkaAdminClient, settings: Settings) -> timedelta | None:
    """For how long the topic keeps its records that keeps them shortest; None where all do for ever, or nobody tells.

    What the settings say counts for topics that we made; whoever made one before us, or alters it later,
    decides otherwise.
    """
    kept_by_age = [settings.topic_prefix + spec.name for spec in TOPICS.values() if not spec.compacted]
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": None}) for name in kept_by_age]
    found = [
        int(value)
        for response in await admin.describe_configs(resources)
        for *_, entries in response.resources
        for name, value, *_ in entries
        if name == "retention.ms"
    ]
    return min((timedelta(milliseconds=kept) for kept in found if kept >= 0), default=None)


def topic_config(spec: TopicSpec, settings: Settings) -> dict[str, str]:
    """The settings of one topic.

    What outsiders write is stamped by the broker (a record dated 40 days ago would be deleted at
    once) and kept unpacked (so that the broker, not a consumer, refuses a compressed bomb).
    """
    config = (
        {"cleanup.policy": "compact"} if spec.compacted else {"retention.ms": str(settings.retention_days * _DAY_MS)}
    )
    if spec.outside:
        config |= {"message.timestamp.type": "LogAppendTime", "compression.type": "uncompressed"}
    if settings.replication_factor >= 3:  # noqa: PLR2004  with three replicas one may be away
        config["min.insync.replicas"] = "2"
    return config
