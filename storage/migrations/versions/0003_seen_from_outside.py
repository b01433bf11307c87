"""What is counted for people: the figures, the purchases that are in them, and when invariants were checked.

`counted_purchases` holds what of each purchase is in `figures`, so what is missing there is a difference
of two rows, and a purchase can be counted again and again.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE purchases ADD COLUMN published_at timestamptz",
    """
    COMMENT ON COLUMN purchases.published_at IS
        'When the broker appended the payment''s record: from then on the student waits for us.'
    """,
    "ALTER TABLE repairs ADD COLUMN began_at timestamptz",
    "ALTER TABLE repairs ALTER COLUMN began_at SET DEFAULT now()",
    """
    COMMENT ON COLUMN repairs.began_at IS
        'When its transaction began, by the clock of scheduled_at; null: before this column was there.'
    """,
    """
    CREATE TABLE figures (
        name  text NOT NULL,
        label text NOT NULL,
        value numeric NOT NULL,
        PRIMARY KEY (name, label)
    ) WITH (fillfactor = 20)
    """,
    "COMMENT ON TABLE figures IS 'Totals over counted_purchases, for whoever watches.'",
    """
    CREATE TABLE counted_purchases (
        payment_id     text PRIMARY KEY REFERENCES purchases,
        state          text,
        paid           boolean NOT NULL DEFAULT false,
        scheduled      boolean NOT NULL DEFAULT false,
        in_time        boolean NOT NULL DEFAULT false,
        with_help      boolean NOT NULL DEFAULT false,
        seconds        double precision,
        tier           text,
        sessions       integer NOT NULL DEFAULT 0,
        cancelled      integer NOT NULL DEFAULT 0,
        cart_cleared   boolean NOT NULL DEFAULT false,
        coins_redeemed bigint NOT NULL DEFAULT 0,
        coins_returned bigint NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50)
    """,
    "COMMENT ON TABLE counted_purchases IS 'What of each purchase is in figures: both change in one transaction.'",
    "COMMENT ON COLUMN counted_purchases.seconds IS 'From published_at to the sessions; null until there are any.'",
    """
    CREATE TABLE invariant_checks (
        name       text PRIMARY KEY,
        offenders  bigint NOT NULL,
        checked_at timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Add to the schema; purchases of before are counted by the first inspection."""
    for statement in _STATEMENTS:
        op.execute(statement)
