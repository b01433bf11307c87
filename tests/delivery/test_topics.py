"""The topics as the broker has them: stated settings, not its defaults."""

from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from actors.connection import admin_client
from actors.topics import create_topics
from contracts.topics import TOPICS
from settings import Settings

COMPACTED = {"students.changed", "trainers.changed"}
OUTSIDE = {*COMPACTED, "trainers.busy", "carts.changed", "coins.credited", "repairs.requested"} | {
    "payments.succeeded",
    "payments.refunded",
}


async def test_every_topic_is_made_with_the_settings_that_keep_its_records(settings: Settings, kafka: str) -> None:
    async with admin_client(settings, kafka) as admin:
        created = await create_topics(admin, settings)
        found = await _configs(admin, settings)
        partitions = await _partitions(admin, settings)

    assert sorted(created) == sorted(settings.topic_prefix + name for name in TOPICS)
    assert set(found) == set(TOPICS)
    assert set(partitions.values()) == {settings.partitions}
    for name, config in found.items():
        assert config["cleanup.policy"] == ("compact" if name in COMPACTED else "delete"), name
        if name not in COMPACTED:
            assert config["retention.ms"] == str(30 * 24 * 3600 * 1000), name
        if name in OUTSIDE:
            assert (config["message.timestamp.type"], config["compression.type"]) == ("LogAppendTime", "uncompressed")
        else:
            assert config["message.timestamp.type"] == "CreateTime", name


async def test_topics_that_are_there_are_left_alone(settings: Settings, kafka: str) -> None:
    async with admin_client(settings, kafka) as admin:
        await create_topics(admin, settings)

        again = await create_topics(admin, settings)

    assert again == []


async def test_what_is_written_by_outsiders_is_known_as_such() -> None:
    outside = {name for name, spec in TOPICS.items() if spec.outside}

    assert outside == OUTSIDE


async def _configs(admin: AIOKafkaAdminClient, settings: Settings) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, settings.topic_prefix + name) for name in TOPICS]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for _, _, _, name, entries in response.resources:
            found[name.removeprefix(settings.topic_prefix)] = {entry[0]: entry[1] for entry in entries}
    return found


async def _partitions(admin: AIOKafkaAdminClient, settings: Settings) -> dict[str, int]:
    topics: list[dict[str, Any]] = await admin.describe_topics([settings.topic_prefix + name for name in TOPICS])
    return {topic["topic"]: len(topic["partitions"]) for topic in topics}
