"""Every metric of one process. Labels are closed sets; counters are raised after the effect has landed.

What is the same on every replica, because it is read from PostgreSQL or Kafka, is in `console/exposition.py`.
"""

from importlib.metadata import PackageNotFoundError, version

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

# When a counter began tells nobody anything, and doubles the series.
disable_created_metrics()  # type: ignore[no-untyped-call]

RECORDS = Counter(
    "firstbell_records",
    "Records an actor is through with, by what became of them: done, parked or redone.",
    ["actor", "outcome"],
)
BATCH_SECONDS = Histogram(
    "firstbell_batch_seconds",
    "Seconds from a batch's arrival at an actor until its events are published.",
    ["actor"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BATCH_RECORDS = Histogram(
    "firstbell_batch_records",
    "Records in a batch.",
    ["actor"],
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 10_000),
)
RETRIES = Counter(
    "firstbell_retries",
    "Attempts at a batch that were rolled back and done again, by cause.",
    ["actor", "cause"],
)
PARKED = Counter(
    "firstbell_parked",
    "Records and steps that were parked, by reason; replays of a parked one count again.",
    ["actor", "reason"],
)
COMMIT_FAILURES = Counter(
    "firstbell_commit_failures",
    "Batches that were done and whose offsets could not be committed: they will be done once more.",
    ["actor"],
)
REPAIRS = Counter(
    "firstbell_repairs",
    "Commands that were answered, by what they ask for and how they ended; replays of an answer count again.",
    ["command", "outcome"],
)
COMMANDS_REJECTED = Counter(
    "firstbell_commands_rejected",
    "Commands that were not even looked at: unsigned, by an unknown key, forged, expired, or under a used id.",
    ["code"],
)
FUSE_TRIPPED = Gauge(
    "firstbell_fuse_tripped",
    "1 while an actor holds still because its failures look like a broken deploy.",
    ["actor"],
)
BUILD = Info("firstbell_build", "The release that runs here.")

_OUTCOMES = ("done", "parked", "redone")
# Why records are parked that nobody expected: the first burst of them must be seen as one.
_BAD_RECORDS = (
    "unreadable",
    "refused_by_database",
    "unexpected_error",
    "conflicting_duplicate",
    "changed_at_in_future",
)
# What only needs another try: the classes of `errors.Transient`, and what comes after the commit.
_CAUSES = ("Transient", "Contended", "Conflict", "look", "publish")


def begin(actors: list[str]) -> None:
    """Show what these actors count from the start: a counter that appears with its first event hides that event."""
    for actor in actors:
        for outcome in _OUTCOMES:
            RECORDS.labels(actor, outcome)
        for cause in _CAUSES:
            RETRIES.labels(actor, cause)
        for reason in _BAD_RECORDS:
            PARKED.labels(actor, reason)
        BATCH_SECONDS.labels(actor)
        BATCH_RECORDS.labels(actor)
        COMMIT_FAILURES.labels(actor)
        FUSE_TRIPPED.labels(actor).set(0)


def begin_commands(commands: tuple[str, ...], outcomes: tuple[str, ...], rejections: frozenset[str]) -> None:
    """The same for what repair counts."""
    for command in commands:
        for outcome in outcomes:
            REPAIRS.labels(command, outcome)
    for code in sorted(rejections):
        COMMANDS_REJECTED.labels(code)


def release() -> str:
    """The version of Firstbell that runs: of the installed package, else of a checkout."""
    try:
        return version("firstbell")
    except PackageNotFoundError:
        return "checkout"
