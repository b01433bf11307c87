"""Every metric of Firstbell. Labels are closed sets; counters are raised after the effect has landed."""

from prometheus_client import Counter, Gauge, Histogram

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
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000),
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
