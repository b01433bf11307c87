"""The metrics that come from Kafka: lag, by the names that kafka_exporter gives it, and the age of what waits."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from actors.consumers import group_of
from actors.lag import Offsets
from settings import Settings

_BY_GROUP = ["consumergroup", "topic", "partition"]
_BY_PARTITION = ["topic", "partition"]


def families(
    settings: Settings,
    offsets: Offsets,
    unread: Mapping[str, datetime],
    kept: timedelta | None = None,
    now: datetime | None = None,
) -> list[Metric]:
    """All of them.

    `unread` is when the oldest record was written that each actor has not done, where there is one; `kept`
    for how long topics keep a record at the least, without which the setting counts.
    """
    lag = GaugeMetricFamily("kafka_consumergroup_lag", "Records that a group has still to do.", labels=_BY_GROUP)
    done = GaugeMetricFamily(
        "kafka_consumergroup_current_offset", "The next record that a group does.", labels=_BY_GROUP
    )
    for actor, partition in sorted(offsets.done):
        labels = [group_of(actor, settings), partition.topic, str(partition.partition)]
        lag.add_metric(labels, offsets.lag(actor, partition))
        done.add_metric(labels, offsets.next_of(actor, partition))
    newest = GaugeMetricFamily("kafka_topic_partition_current_offset", "Where a partition ends.", labels=_BY_PARTITION)
    oldest = GaugeMetricFamily("kafka_topic_partition_oldest_offset", "Where a partition begins.", labels=_BY_PARTITION)
    for family, found in ((newest, offsets.newest), (oldest, offsets.oldest)):
        for partition in sorted(found):
            family.add_metric([partition.topic, str(partition.partition)], found[partition])
    retention = GaugeMetricFamily(
        "firstbell_topic_retention_seconds",
        "For how long the topic keeps a record that keeps them shortest.",
        value=(kept or timedelta(days=settings.retention_days)).total_seconds(),
    )
    return [lag, done, newest, oldest, _ages(offsets, unread, now or datetime.now(UTC)), retention]


def _ages(offsets: Offsets, unread: Mapping[str, datetime], now: datetime) -> Metric:
    family = GaugeMetricFamily(
        "firstbell_oldest_unread_age_seconds",
        "Age of the oldest record that an actor has not done; 0 when it has done all.",
        labels=["actor"],
    )
    for actor in sorted({actor for actor, _ in offsets.done}):
        at = unread.get(actor)
        family.add_metric([actor], max(0.0, (now - at).total_seconds()) if at else 0)
    return family
