"""The lower part of the dashboard, for whoever has the time: the business, and the processes."""

from grafana_foundation_sdk.builders import heatmap, stat, timeseries

from monitoring.grafana.panels import BLUE, RED, cells, lines, number

Panels = list[stat.Panel | timeseries.Panel | heatmap.Panel]

_HOW = "how-to-read-the-dashboard"


def business() -> Panels:
    """What comes in, how soon it is served, what it amounts to."""
    return [
        lines(
            "Purchases a minute",
            "Paid, and those of them that missed their minute, as the mean of five minutes.",
            {
                "paid": 'max(firstbell:purchases_paid:growth{window="5m"}) / 5',
                "missed": 'max(firstbell:purchases_missed:growth{window="5m"}) / 5',
            },
            runbook=_HOW,
        ),
        cells(
            "From payment to sessions",
            "How many purchases of the last five minutes took how long.",
            'max by (le) (firstbell:purchase_to_sessions_seconds_bucket:growth{window="5m"})',
            unit="s",
            runbook="purchases-miss-their-minute",
        ),
        lines(
            "From payment to sessions, half and 99 %",
            "Of the purchases that were scheduled in the last hour. No line while there are none.",
            {
                "half within": 'max(firstbell:purchase_to_sessions_seconds:p50{window="1h"})',
                "99 % within": 'max(firstbell:purchase_to_sessions_seconds:p99{window="1h"})',
            },
            unit="s",
            steps={60: RED},
            runbook="purchases-miss-their-minute",
        ),
        lines(
            "Sessions created, an hour",
            "By how many the purchase has.",
            {
                "of {{tier}}": "max by (tier) (firstbell:sessions_created:max "
                "- min_over_time(firstbell:sessions_created:max[1h]))"
            },
            stacked=True,
            runbook=_HOW,
        ),
        lines(
            "Sessions cancelled, an hour",
            "After refunds.",
            {"cancelled": _an_hour("firstbell:sessions_cancelled:max")},
            runbook=_HOW,
        ),
        lines(
            "Coins and carts, an hour",
            "Coins redeemed by purchases and returned by refunds; carts that a purchase was taken out of.",
            {
                "coins redeemed": _an_hour("firstbell:coins_redeemed:max"),
                "coins returned": _an_hour("firstbell:coins_returned:max"),
                "carts cleared": _an_hour("firstbell:carts_cleared:max"),
            },
            runbook=_HOW,
        ),
    ]


def processes() -> Panels:
    """What the processes do, and which release they are."""
    return [
        lines(
            "Records a second, by outcome",
            "Of all actors and processes.",
            {"{{outcome}}": "sum by (outcome) (firstbell:records:rate5m)"},
            unit="reqps",
            runbook="lag-grows",
        ),
        lines(
            "Records a second, by actor",
            "Of all outcomes and processes.",
            {"{{actor}}": "sum by (actor) (firstbell:records:rate5m)"},
            unit="reqps",
            runbook="lag-grows",
        ),
        lines(
            "Database connections",
            "Of all processes; the fullest one's share decides whether an actor waits.",
            {
                "{{state}}": "sum by (state) (firstbell_database_connections)",
                "may be open": "sum(firstbell_database_connections_limit)",
            },
            runbook="database-connections-run-out",
        ),
        lines(
            "Memory",
            "Of the process that has the most.",
            {"resident": 'max(process_resident_memory_bytes{job="firstbell"})'},
            unit="bytes",
            runbook="scale-out",
        ),
        lines(
            "Processor",
            "Of the process that uses the most. A process cannot use much more than one core.",
            {"cores": 'max(rate(process_cpu_seconds_total{job="firstbell"}[5m]))'},
            unit="none",
            steps={0.9: RED},
            runbook="scale-out",
        ),
        number(
            "Releases that run",
            "How many processes of each release, with the schema that it needs. Two of them: a deploy is under way.",
            "count by (version, schema) (firstbell_build_info)",
            legend="{{version}}, schema {{schema}}",
            base=BLUE,
            span=8,
            runbook="a-deploy-has-gone-wrong",
        ),
    ]


def _an_hour(figure: str) -> str:
    return f"max({figure} - min_over_time({figure}[1h]))"
