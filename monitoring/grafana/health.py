"""The top of the dashboard: is it healthy?"""

from grafana_foundation_sdk.builders import bargauge, stat, timeseries

from monitoring.grafana.panels import GREEN, RED, YELLOW, bars, lines, number

Panels = list[stat.Panel | bargauge.Panel | timeseries.Panel]


def is_it_healthy() -> Panels:
    """The objective first, then whatever makes it moot."""
    return [*_objective(), *_running(), *_over_time()]


def _objective() -> Panels:
    return [
        number(
            "Scheduled within a minute, 30 days",
            "Share of the purchases of 30 days that had their sessions within 60 seconds, with no human. Wanted: 99 %.",
            'min(firstbell:purchases_in_time:ratio{window="30d"})',
            unit="percentunit",
            decimals=2,
            base=RED,
            steps={0.99: YELLOW, 0.995: GREEN},
            runbook="purchases-miss-their-minute",
        ),
        number(
            "Budget left",
            "Of the 1 % that may miss their minute in 30 days. Below 0 the objective is missed.",
            "min(firstbell:objective_budget_left:ratio)",
            unit="percentunit",
            decimals=0,
            base=RED,
            steps={0: YELLOW, 0.5: GREEN},
            runbook="purchases-miss-their-minute",
        ),
        number(
            "Burn, last hour",
            "How many times faster than allowed the budget is used up. At 14.4 it is gone in two days, and somebody is "
            "woken.",
            'max(firstbell:objective_burn:ratio{window="1h"})',
            unit="none",
            decimals=1,
            steps={1: YELLOW, 14.4: RED},
            runbook="purchases-miss-their-minute",
        ),
        number(
            "Alerts that fire",
            "All of them, pages and tickets. Prometheus lists them under Alerts.",
            'count(ALERTS{alertstate="firing"}) or vector(0)',
            steps={1: RED},
            runbook="alerts",
        ),
        number(
            "Missed, six hours",
            "Purchases of the last six hours that were not scheduled within a minute.",
            'max(firstbell:purchases_missed:growth{window="6h"})',
            steps={1: YELLOW, 5: RED},
            runbook="purchases-miss-their-minute",
        ),
        number(
            "Break an invariant",
            "Rows that break what must always hold, at the last check.",
            "sum(firstbell:invariant_offenders:max)",
            steps={1: RED},
            runbook="an-invariant-is-broken",
        ),
    ]


def _running() -> Panels:
    up = {"0": ("does not answer", RED), "1": ("answers", GREEN)}
    return [
        number(
            "Replicas ready",
            "Processes whose /readyz finds no obstacle.",
            "sum(firstbell_ready)",
            base=RED,
            steps={1: GREEN},
            runbook="not-ready",
        ),
        number(
            "PostgreSQL",
            "Whether any replica has an answer from it.",
            "max(firstbell:up_database:max)",
            words=up,
            base=RED,
            steps={1: GREEN},
            runbook="the-database-does-not-answer",
        ),
        number(
            "Kafka",
            "Whether any replica has an answer from it.",
            "max(firstbell:up_kafka:max)",
            words=up,
            base=RED,
            steps={1: GREEN},
            runbook="kafka-does-not-answer",
        ),
        number(
            "Fuses tripped",
            "Actors that hold still because their failures look like a broken deploy.",
            "sum(max by (actor) (firstbell:fuse_tripped:max))",
            steps={1: RED},
            runbook="a-fuse-has-tripped",
        ),
        number(
            "Age of the figures",
            "How far the metrics actor is behind. While it is, the objective says nothing about now.",
            'max(firstbell:oldest_unread_age_seconds:max{actor="metrics"})',
            unit="s",
            steps={60: YELLOW, 300: RED},
            runbook="figures-are-old",
        ),
        number(
            "Invariants checked",
            "How long ago all invariants were last looked at. They are every five minutes.",
            "time() - max(firstbell:invariants_checked_timestamp_seconds:max)",
            unit="s",
            steps={900: YELLOW, 1800: RED},
            runbook="invariants-are-not-checked",
        ),
    ]


def _over_time() -> Panels:
    return [
        lines(
            "Burn over time",
            "How many times faster than allowed the budget is used up, over windows of several lengths.",
            {"{{window}}": 'max by (window) (firstbell:objective_burn:ratio{window=~"5m|1h|6h|3d"})'},
            unit="none",
            steps={1: YELLOW, 14.4: RED},
            span=16,
            runbook="purchases-miss-their-minute",
        ),
        bars(
            "Offenders by invariant",
            "The eight with the most. `app.py check` tells the ids.",
            "topk(8, max by (invariant) (firstbell:invariant_offenders:max))",
            "{{invariant}}",
            base=GREEN,
            steps={1: RED},
            runbook="an-invariant-is-broken",
        ),
    ]
