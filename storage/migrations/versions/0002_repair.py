"""Refunds, repairs, and what healing needs: who waits since when, and which transaction freed time.

`repairs` is the audit: rows are only ever added, whoever is connected.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFUNDS = """
CREATE TABLE refunds (
    refund_id      text PRIMARY KEY,
    payment_id     text NOT NULL REFERENCES purchases,
    coins_returned bigint CHECK (coins_returned >= 0),
    refunded_at    timestamptz NOT NULL,
    payload        jsonb NOT NULL,
    fingerprint    bytea NOT NULL,
    received_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN refunds.coins_returned IS 'Null: all coins that the payment redeemed.';
CREATE INDEX refunds_by_payment ON refunds (payment_id);

ALTER TABLE allocations
    ADD COLUMN released_at  timestamptz,
    ADD COLUMN effective_at timestamptz,
    ADD COLUMN cancelled_at timestamptz,
    ADD CHECK ((status = 'released') = (released_at IS NOT NULL)),
    ADD CHECK ((status = 'released') = (effective_at IS NOT NULL));
COMMENT ON COLUMN allocations.effective_at IS 'Released: sessions that begin then or later do not take place.';
COMMENT ON COLUMN allocations.cancelled_at IS 'When the sessions step cancelled what a release left over.';
"""

_HEALING = """
ALTER TABLE trainer_absences ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id();
COMMENT ON COLUMN trainer_absences.xact IS 'The transaction of the last change.';

ALTER TABLE bookings
    ADD COLUMN first_number smallint NOT NULL DEFAULT 1 CHECK (first_number >= 1),
    ADD COLUMN freed xid8;
COMMENT ON COLUMN bookings.first_number IS 'The number of the first session of this stretch of the series.';
COMMENT ON COLUMN bookings.freed IS 'The transaction that last gave back time of this booking.';
CREATE INDEX bookings_by_freed ON bookings (freed) WHERE freed IS NOT NULL;

ALTER TABLE parked ADD COLUMN seen pg_snapshot;
COMMENT ON COLUMN parked.seen IS 'What the step could see when it was last tried: news is what this does not show.';
"""

_REPAIRS = """
CREATE TABLE repairs (
    repair_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command_id    text NOT NULL,
    value_hash    bytea NOT NULL,
    accepted      boolean NOT NULL,
    command       text NOT NULL,
    requested_by  text NOT NULL,
    reason        text NOT NULL,
    key_id        text,
    parked_id     uuid,
    payment_id    text,
    enrollment_id uuid,
    allocation_id uuid,
    step          text,
    bulk_id       text,
    request       jsonb NOT NULL,
    outcome       text NOT NULL CHECK (outcome IN ('applied', 'republished', 'unchanged', 'refused')),
    refusal_code  text,
    answer        jsonb NOT NULL,
    events        jsonb NOT NULL,
    requested_at  timestamptz NOT NULL,
    completed_at  timestamptz NOT NULL,
    CHECK ((outcome = 'refused') = (refusal_code IS NOT NULL)),
    CHECK (accepted OR outcome = 'refused')
);
COMMENT ON TABLE repairs IS 'The audit of every command: rows are added, never changed and never deleted.';
COMMENT ON COLUMN repairs.accepted IS
    'False: forged, expired, or another command under a used id; such a row occupies no command id.';
COMMENT ON COLUMN repairs.answer IS 'What repairs.completed said: effects (rows before and after), digest, refusal.';
COMMENT ON COLUMN repairs.events IS 'What was published with it, [{topic, value}]: a replay publishes the same.';
CREATE UNIQUE INDEX repairs_once ON repairs (command_id) WHERE accepted;
CREATE UNIQUE INDEX repairs_rejected_once ON repairs (command_id, value_hash, refusal_code) WHERE NOT accepted;
CREATE INDEX repairs_by_payment ON repairs (payment_id);
CREATE INDEX repairs_by_parked ON repairs (parked_id);
CREATE INDEX repairs_by_bulk ON repairs (bulk_id) WHERE bulk_id IS NOT NULL;
CREATE INDEX repairs_by_time ON repairs (completed_at);
"""

_APPEND_ONLY = (
    """
    CREATE FUNCTION repairs_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'repairs is append-only' USING ERRCODE = 'insufficient_privilege';
    END $$
    """,
    """
    CREATE TRIGGER repairs_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON repairs
        FOR EACH STATEMENT EXECUTE FUNCTION repairs_are_kept()
    """,
)


def upgrade() -> None:
    """Add to the schema of the main job."""
    for part in (_REFUNDS, _HEALING, _REPAIRS):
        for statement in part.split(";\n"):
            if statement.strip():
                op.execute(statement)
    for statement in _APPEND_ONLY:
        op.execute(statement)
