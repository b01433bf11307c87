"""The metrics that come from PostgreSQL: totals of the business, what is parked, what breaks an invariant."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from domain.objective import BOUNDS
from storage.figures import Figure
from storage.observing import Checked, ParkedCount

_COUNTERS = {
    "paid": ("firstbell_purchases_paid", "Purchases that were enrolled: what the objective is about."),
    "scheduled": ("firstbell_purchases_scheduled", "Purchases that have got their sessions."),
    "in_time": (
        "firstbell_purchases_in_time",
        "Purchases that got their sessions within a minute of the payment, with nobody's help.",
    ),
    "with_help": (
        "firstbell_purchases_with_help",
        "Purchases that got their sessions after somebody had repaired them.",
    ),
    "sessions_cancelled": ("firstbell_sessions_cancelled", "Sessions that were cancelled."),
    "carts_cleared": ("firstbell_carts_cleared", "Purchases that were taken out of the cart."),
    "coins_redeemed": ("firstbell_coins_redeemed", "Coins that were redeemed."),
    "coins_returned": ("firstbell_coins_returned", "Coins that were returned after refunds."),
}
_STATES = ("enrolled", "allocated", "scheduled", "parked", "refunded")
_TIERS = ("10", "20", "30", "other")


def families(
    figures: Iterable[Figure], parked: Iterable[ParkedCount], checks: Iterable[Checked], now: datetime | None = None
) -> list[Metric]:
    """All of them. What has never been counted is zero, so that the first one is seen as an increase."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for figure in figures:
        values[figure.name][figure.label] = figure.value
    return [
        *(_counter(name, words, values[figure].get("", 0)) for figure, (name, words) in _COUNTERS.items()),
        _sessions_created(values["sessions_created"]),
        _purchases(values["purchases"]),
        _seconds(values["seconds"], values["seconds_sum"].get("", 0)),
        *_parked(list(parked), now or datetime.now(UTC)),
        *_checked(list(checks)),
    ]


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(name, documentation, value=value)


def _sessions_created(by_tier: dict[str, float]) -> Metric:
    family = CounterMetricFamily(
        "firstbell_sessions_created", "Sessions that were created, by how many the purchase has.", labels=["tier"]
    )
    for tier in _TIERS:
        family.add_metric([tier], by_tier.get(tier, 0))
    return family


def _purchases(by_state: dict[str, float]) -> Metric:
    family = GaugeMetricFamily("firstbell_purchases", "Purchases, by how far they have got.", labels=["state"])
    for state in _STATES:
        family.add_metric([state], by_state.get(state, 0))
    return family


def _seconds(classes: dict[str, float], in_all: float) -> Metric:
    """The histogram: stored by class, told as a running total."""
    counted = {float(bound): number for bound, number in classes.items()}
    buckets, total = [], 0.0
    for bound in (*BOUNDS, float("inf")):
        # A bound that an earlier release had counts where it lies today.
        total += sum(number for at, number in counted.items() if at <= bound)
        counted = {at: number for at, number in counted.items() if at > bound}
        buckets.append((floatToGoString(bound), total))  # type: ignore[no-untyped-call]
    return HistogramMetricFamily(
        "firstbell_purchase_to_sessions_seconds",
        "Seconds from the payment's arrival in Kafka until its sessions were on the calendar.",
        buckets=buckets,
        sum_value=in_all,
    )


def _parked(parked: list[ParkedCount], now: datetime) -> list[Metric]:
    items = GaugeMetricFamily("firstbell_parked_items", "What is parked and open.", labels=["actor", "reason"])
    ages = GaugeMetricFamily(
        "firstbell_parked_oldest_age_seconds", "Age of the oldest that is parked and open.", labels=["actor"]
    )
    oldest: dict[str, datetime] = {}
    for one in parked:
        items.add_metric([one.actor, one.reason], one.items)
        oldest[one.actor] = min(one.oldest, oldest.get(one.actor, one.oldest))
    for actor, at in oldest.items():
        ages.add_metric([actor], max(0.0, (now - at).total_seconds()))
    return [items, ages]


def _checked(checks: list[Checked]) -> list[Metric]:
    offenders = GaugeMetricFamily(
        "firstbell_invariant_offenders", "Rows that break what must always hold.", labels=["invariant"]
    )
    for check in checks:
        offenders.add_metric([check.name], check.offenders)
    at = GaugeMetricFamily("firstbell_invariants_checked_timestamp_seconds", "When the invariants were last checked.")
    if checks:
        at.add_metric([], min(check.at for check in checks).timestamp())
    return [offenders, at]
