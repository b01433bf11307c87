"""Everything the main job needs: directory, purchases, allocations, sessions, what is parked.

Numbers of our own (`student_no`, `trainer_no`, `allocation_no`) stand where indexes are hot; the ids
of the contracts stay what people see. Rows of students and trainers are never deleted, only marked,
so a number is never given twice.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DIRECTORY = """
CREATE TABLE students (
    student_no   bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    student_id   text PRIMARY KEY,
    timezone     text,
    latitude     double precision,
    longitude    double precision,
    coins        bigint NOT NULL DEFAULT 0 CHECK (coins >= 0),
    changed_at   timestamptz,
    removed      boolean NOT NULL DEFAULT false,
    payload_hash bytea,
    payload      jsonb
);
COMMENT ON COLUMN students.changed_at IS 'Null until a profile has come: a purchase makes the row for its number.';
COMMENT ON COLUMN students.coins IS 'Always the sum of the student''s coin_ledger.';

CREATE TABLE trainers (
    trainer_no    bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    trainer_id    text PRIMARY KEY,
    active        boolean NOT NULL,
    courses       text[] NOT NULL,
    timezone      text,
    latitude      double precision,
    longitude     double precision,
    radius_km     double precision,
    working_hours jsonb NOT NULL,
    changed_at    timestamptz NOT NULL,
    removed       boolean NOT NULL DEFAULT false,
    payload_hash  bytea NOT NULL,
    payload       jsonb,
    xact          xid8 NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON COLUMN trainers.xact IS 'The transaction of the last change: workers refresh their copy by it.';
CREATE INDEX trainers_by_xact ON trainers (xact);

CREATE TABLE trainer_absences (
    busy_id      text PRIMARY KEY,
    trainer_id   text,
    starts_at    timestamptz,
    ends_at      timestamptz,
    changed_at   timestamptz NOT NULL,
    removed      boolean NOT NULL DEFAULT false,
    payload_hash bytea NOT NULL,
    payload      jsonb,
    CHECK (removed OR (trainer_id IS NOT NULL AND starts_at < ends_at))
);
CREATE INDEX trainer_absences_by_trainer ON trainer_absences (trainer_id, ends_at) WHERE NOT removed;
"""

_CARTS_AND_COINS = """
CREATE TABLE cart_changes (
    item_id      text PRIMARY KEY,
    student_id   text,
    course_id    text,
    changed_at   timestamptz NOT NULL,
    removed      boolean NOT NULL DEFAULT false,
    payload_hash bytea NOT NULL,
    payload      jsonb,
    CHECK (removed OR (student_id IS NOT NULL AND course_id IS NOT NULL))
);
CREATE INDEX cart_changes_by_student ON cart_changes (student_id) WHERE NOT removed;

CREATE TABLE cart_clearances (
    payment_id  text PRIMARY KEY,
    student_id  text NOT NULL,
    course_id   text NOT NULL,
    item_id     text,
    added_until timestamptz NOT NULL,
    cleared_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN cart_clearances.item_id IS
    'The one item that this purchase clears; null: the items of its course that were added until added_until.';
CREATE INDEX cart_clearances_by_student ON cart_clearances (student_id);

CREATE VIEW cart_items AS
SELECT c.item_id, c.student_id, c.course_id, c.changed_at AS added_at
  FROM cart_changes c
 WHERE NOT c.removed
   AND NOT EXISTS (
       SELECT FROM cart_clearances l
        WHERE l.student_id = c.student_id
          AND CASE WHEN l.item_id IS NULL
                   THEN l.course_id = c.course_id AND c.changed_at <= l.added_until
                   ELSE l.item_id = c.item_id
              END
   );

CREATE TABLE coin_ledger (
    kind       text NOT NULL CHECK (kind IN ('credit', 'redemption', 'return')),
    reference  text NOT NULL,
    student_id text NOT NULL REFERENCES students,
    payment_id text,
    coins      bigint NOT NULL,
    at         timestamptz NOT NULL,
    booked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, reference),
    CHECK (CASE kind WHEN 'redemption' THEN coins < 0 ELSE coins > 0 END)
);
COMMENT ON COLUMN coin_ledger.coins IS 'Signed: a redemption is negative, so the balance is the sum.';
CREATE INDEX coin_ledger_by_student ON coin_ledger (student_id);
CREATE INDEX coin_ledger_by_payment ON coin_ledger (payment_id);
"""

# fillfactor: a purchase's state changes twice, an allocation is marked once; with room beside them
# the new row stays on its page, and no index has to learn of it.
_PURCHASES = """
CREATE TABLE purchases (
    payment_id     text PRIMARY KEY,
    student_id     text,
    course_id      text,
    amount_minor   bigint,
    currency       text,
    succeeded_at   timestamptz,
    coins_redeemed bigint NOT NULL DEFAULT 0 CHECK (coins_redeemed >= 0),
    payload        jsonb,
    fingerprint    bytea,
    state          text NOT NULL CHECK (state IN ('enrolled', 'allocated', 'scheduled', 'parked', 'refunded')),
    refunded_at    timestamptz,
    received_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (payload IS NOT NULL OR refunded_at IS NOT NULL),
    CHECK (payload IS NULL OR (student_id IS NOT NULL AND course_id IS NOT NULL AND succeeded_at IS NOT NULL
                               AND amount_minor IS NOT NULL AND currency IS NOT NULL AND fingerprint IS NOT NULL)),
    CHECK ((state = 'refunded') = (refunded_at IS NOT NULL))
) WITH (fillfactor = 50);
COMMENT ON TABLE purchases IS
    'One line per purchase; its row is its lock. A refund that comes first leaves a row without payload.';
CREATE INDEX purchases_by_student ON purchases (student_id);

CREATE TABLE enrollments (
    enrollment_id uuid PRIMARY KEY,
    payment_id    text NOT NULL UNIQUE REFERENCES purchases,
    student_id    text NOT NULL,
    course_id     text NOT NULL,
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    version       integer NOT NULL DEFAULT 1,
    enrolled_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at    timestamptz,
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL))
);
"""

_ALLOCATIONS = """
CREATE TABLE allocations (
    allocation_id uuid PRIMARY KEY,
    allocation_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    enrollment_id uuid NOT NULL UNIQUE REFERENCES enrollments,
    payment_id    text NOT NULL UNIQUE,
    student_id    text NOT NULL,
    course_id     text NOT NULL,
    trainer_id    text NOT NULL,
    status        text NOT NULL DEFAULT 'approved' CHECK (status IN ('approved', 'released')),
    provisional   boolean NOT NULL DEFAULT false,
    version       integer NOT NULL DEFAULT 1,
    metadata      jsonb NOT NULL,
    latitude      double precision,
    longitude     double precision,
    approved_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    scheduled_at  timestamptz,
    CHECK (NOT (provisional AND scheduled_at IS NOT NULL))
) WITH (fillfactor = 70);
COMMENT ON COLUMN allocations.metadata IS
    'sessionCount, sessionCountSource, date, timeSlot, daysOfWeek, timezone, learningMode.';
COMMENT ON COLUMN allocations.latitude IS
    'Where the sessions take place, set when they are created; null for online lessons.';

-- The trainer's range stands before the times: the reverse order made an insert nine times slower.
CREATE TABLE bookings (
    booking_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    allocation_id uuid NOT NULL REFERENCES allocations,
    trainer_no    bigint NOT NULL REFERENCES trainers (trainer_no),
    student_no    bigint NOT NULL REFERENCES students (student_no),
    booked        tstzmultirange NOT NULL,
    active        boolean NOT NULL DEFAULT true,
    first_day     date NOT NULL,
    days_of_week  smallint NOT NULL CHECK (days_of_week BETWEEN 1 AND 127),
    session_count smallint NOT NULL CHECK (session_count BETWEEN 1 AND 365),
    start_minute  smallint NOT NULL CHECK (start_minute BETWEEN 0 AND 1439),
    slot_minutes  smallint NOT NULL CHECK (slot_minutes BETWEEN 15 AND 720),
    timezone      text NOT NULL,
    ends_at       timestamptz NOT NULL GENERATED ALWAYS AS (upper(booked)) STORED,
    CHECK (NOT active OR NOT isempty(booked)),
    CONSTRAINT bookings_trainer_once EXCLUDE USING gist
        (int8range(trainer_no, trainer_no, '[]') WITH &&, booked WITH &&) WHERE (active),
    CONSTRAINT bookings_student_once EXCLUDE USING gist
        (int8range(student_no, student_no, '[]') WITH &&, booked WITH &&) WHERE (active)
);
CREATE INDEX bookings_by_trainer ON bookings (trainer_no) WHERE active;
CREATE INDEX bookings_by_student ON bookings (student_no) WHERE active;
CREATE INDEX bookings_by_allocation ON bookings (allocation_id);
"""

# No foreign key on the thirty rows of a purchase: its check would cost more than the insert.
# `storage/invariants.py` looks for orphans instead.
_SESSIONS = """
CREATE TABLE series_sessions (
    allocation_no bigint NOT NULL,
    trainer_no    bigint NOT NULL,
    starts_at     timestamptz NOT NULL,
    ends_at       timestamptz NOT NULL,
    number        smallint NOT NULL CHECK (number >= 1),
    version       smallint NOT NULL DEFAULT 1,
    cancelled     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (allocation_no, number),
    CHECK (starts_at < ends_at)
);

CREATE TABLE former_sessions (
    allocation_no bigint NOT NULL,
    trainer_no    bigint NOT NULL,
    starts_at     timestamptz NOT NULL,
    ends_at       timestamptz NOT NULL,
    number        smallint NOT NULL,
    version       smallint NOT NULL,
    cancelled     boolean NOT NULL,
    replaced_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (allocation_no, number, version)
);
COMMENT ON TABLE former_sessions IS 'The former times of sessions that were moved or cancelled.';

CREATE VIEW sessions AS
SELECT a.allocation_id, s.number, t.trainer_id, a.payment_id, a.student_id, a.course_id,
       s.starts_at, s.ends_at,
       CASE WHEN s.cancelled THEN 'cancelled' ELSE 'scheduled' END AS status,
       s.version, a.latitude, a.longitude
  FROM series_sessions s
  JOIN allocations a USING (allocation_no)
  JOIN trainers t USING (trainer_no);

CREATE VIEW session_history AS
SELECT a.allocation_id, f.number, t.trainer_id, a.payment_id, a.student_id, f.starts_at, f.ends_at,
       CASE WHEN f.cancelled THEN 'cancelled' ELSE 'scheduled' END AS status,
       f.version, f.replaced_at
  FROM former_sessions f
  JOIN allocations a USING (allocation_no)
  JOIN trainers t USING (trainer_no);
"""

_PARKED = """
CREATE TABLE parked (
    id            uuid PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('step', 'record')),
    actor         text NOT NULL,
    subject       text NOT NULL,
    episode       integer NOT NULL DEFAULT 1,
    reason        text NOT NULL,
    payment_id    text,
    enrollment_id uuid,
    allocation_id uuid,
    student_id    text,
    topic         text NOT NULL,
    partition     integer NOT NULL,
    "offset"      bigint NOT NULL,
    key           bytea,
    payload       bytea,
    headers       jsonb NOT NULL,
    facts         jsonb NOT NULL,
    waits_for     text,
    attempts      integer NOT NULL DEFAULT 0,
    status        text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'resolved', 'dismissed')),
    parked_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at     timestamptz,
    closed_by     text,
    UNIQUE (kind, actor, subject, episode),
    CHECK ((status = 'open') = (closed_at IS NULL))
);
COMMENT ON COLUMN parked.subject IS 'A step: the id it is about. A record: the SHA-256 of its topic, key and value.';
CREATE UNIQUE INDEX parked_one_open ON parked (kind, actor, subject) WHERE status = 'open';
CREATE INDEX parked_by_reason ON parked (reason, parked_at) WHERE status = 'open';
CREATE INDEX parked_by_wait ON parked (waits_for, student_id) WHERE status = 'open';
CREATE INDEX parked_by_payment ON parked (payment_id);

CREATE VIEW purchase_journey AS
SELECT p.payment_id, p.student_id, p.course_id, e.enrollment_id, a.allocation_id, p.state,
       (SELECT count(*) FROM series_sessions s WHERE s.allocation_no = a.allocation_no AND NOT s.cancelled) AS sessions,
       p.succeeded_at AS paid_at, e.enrolled_at, a.approved_at AS allocated_at, a.scheduled_at,
       k.parked_at, k.reason AS parked_reason
  FROM purchases p
  LEFT JOIN enrollments e ON e.payment_id = p.payment_id
  LEFT JOIN allocations a ON a.enrollment_id = e.enrollment_id
  LEFT JOIN LATERAL (
       SELECT parked_at, reason
         FROM parked
        WHERE parked.payment_id = p.payment_id AND kind = 'step' AND status = 'open'
          AND actor IN ('enrollment', 'allocation', 'sessions')
        ORDER BY parked_at DESC, id
        LIMIT 1) k ON true;
"""


def upgrade() -> None:
    """Create the schema."""
    for part in (_DIRECTORY, _CARTS_AND_COINS, _PURCHASES, _ALLOCATIONS, _SESSIONS, _PARKED):
        for statement in part.split(";\n"):
            if statement.strip():
                op.execute(statement)
