"""The middle of the dashboard, for whoever is on call: where does it stick, and for whom."""

from grafana_foundation_sdk.builders import bargauge, timeseries

from monitoring.grafana.panels import GREEN, RED, YELLOW, bars, lines

Panels = list[bargauge.Panel | timeseries.Panel]

# Where nothing is parked there is no series. That is a zero while the database answers, and only then.
_NOTHING = 'or on () label_replace(0 * max(firstbell:purchases_paid:max), "actor", "nothing is parked", "", "")'


def where_does_it_stick() -> Panels:
    """From the purchases to what each actor has to do, and what it costs it."""
    return [
        lines(
            "Purchases on their way",
            "Those that are neither scheduled nor refunded. Enrolled waits for a trainer, allocated for its sessions, "
            "parked for news or for a person.",
            {"{{state}}": 'max by (state) (firstbell:purchases:max{state=~"enrolled|allocated|parked"})'},
            stacked=True,
            runbook="how-to-read-the-dashboard",
        ),
        lines(
            "Records to do, by actor",
            "Lag: what has been written and not been done.",
            {"{{actor}}": "max by (actor) (firstbell:lag:sum)"},
            runbook="lag-grows",
        ),
        lines(
            "Age of the oldest record to do",
            "How long the record at the head of the line has waited. A minute is what a purchase has in all.",
            {"{{actor}}": "max by (actor) (firstbell:oldest_unread_age_seconds:max)"},
            unit="s",
            steps={60: RED},
            runbook="an-actor-stands-still",
        ),
        lines(
            "Seconds a batch takes",
            "From its arrival at an actor until its events are published. No line where there are no batches.",
            {
                "{{actor}}, 99 %": "max by (actor) (firstbell:batch_seconds:p99)",
                "{{actor}}, half": "max by (actor) (firstbell:batch_seconds:p50)",
            },
            unit="s",
            runbook="lag-grows",
        ),
        lines(
            "Retries a second",
            "Attempts at a batch that were rolled back and done again, by cause.",
            {
                "{{actor}} {{cause}}": "sum by (actor, cause) (firstbell:retries:rate5m) "
                "or on (actor) 0 * sum by (actor) (firstbell:batches:rate5m)"
            },
            unit="reqps",
            runbook="retries",
        ),
        lines(
            "Done over again",
            "Records that came once more, and batches whose offsets could not be committed. Harmless in itself.",
            {
                "{{actor}}, records": 'sum by (actor) (firstbell:records:rate5m{outcome="redone"})',
                "{{actor}}, not committed": "sum by (actor) (firstbell:commit_failures:rate5m)",
            },
            unit="reqps",
            runbook="offsets-cannot-be-committed",
        ),
    ]


def for_whom() -> Panels:
    """What waits for a person, and what persons did."""
    return [
        bars(
            "Parked, by actor and reason",
            "Open rows. `app.py parked --group` counts them the same way; the glossary tells what each reason needs.",
            f"max by (actor, reason) (firstbell:parked_items:max) {_NOTHING}",
            "{{actor}} {{reason}}",
            runbook="something-is-parked",
        ),
        bars(
            "Oldest parked, by actor",
            "How long the oldest open row has waited.",
            f"max by (actor) (firstbell:parked_oldest_age_seconds:max) {_NOTHING}",
            "{{actor}}",
            unit="s",
            base=GREEN,
            steps={7200: YELLOW, 86400: RED},
            runbook="something-is-parked",
        ),
        lines(
            "Parked over time",
            "Open rows. What heals goes down by itself.",
            {"{{actor}}": f"sum by (actor) (firstbell:parked_items:max) {_NOTHING}"},
            stacked=True,
            runbook="something-is-parked",
        ),
        bars(
            "Commands of the last day",
            "The ten most frequent, by what they asked for and how they ended. Wake-ups are among them.",
            "topk(10, sum by (command, outcome) (increase(firstbell_repairs_total[1d])))",
            "{{command}} {{outcome}}",
            runbook="how-to-read-the-dashboard",
        ),
        lines(
            "Commands refused unseen, an hour",
            "Unsigned, by an unknown key, forged, expired, or under an id that was used before.",
            {"{{code}}": "sum by (code) (increase(firstbell_commands_rejected_total[1h]))"},
            runbook="commands-are-refused-unseen",
        ),
        lines(
            "Scheduled with a person's help",
            "Purchases that got their sessions after a repair: they count as missed.",
            {"all": "max(firstbell:purchases_with_help:max)"},
            runbook="something-is-parked",
        ),
    ]
