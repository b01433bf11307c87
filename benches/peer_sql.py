"""The statements of the hand-written pipeline: idempotent, set-based, sorted like Firstbell's own."""

KEEP = """
    INSERT INTO purchases (payment_id, student_id, course_id, amount_minor, currency, succeeded_at,
                           coins_redeemed, payload, fingerprint, state)
    SELECT payment_id, student_id, course_id, amount_minor, currency, succeeded_at, coins_redeemed,
           payload::jsonb, fingerprint, 'enrolled'
      FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $7::bigint[],
                  $8::text[], $9::bytea[])
           AS incoming (payment_id, student_id, course_id, amount_minor, currency, succeeded_at, coins_redeemed,
                        payload, fingerprint)
    ON CONFLICT DO NOTHING
"""

NUMBER = "INSERT INTO students (student_id) SELECT unnest($1::text[]) ON CONFLICT (student_id) DO NOTHING"

ENROLL = """
    INSERT INTO enrollments (enrollment_id, payment_id, student_id, course_id, enrolled_at)
    SELECT *, $5::timestamptz FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
    ON CONFLICT DO NOTHING
"""

CLEAR = """
    INSERT INTO cart_clearances (payment_id, student_id, course_id, item_id, added_until)
    SELECT payment_id, student_id, course_id, payload #>> '{metadata,cartItemId}', succeeded_at
      FROM purchases
     WHERE payment_id = ANY($1::text[])
    ON CONFLICT DO NOTHING
"""

CLEARED = """
    SELECT payment_id, student_id, course_id, item_id, cleared_at FROM cart_clearances
     WHERE payment_id = ANY($1::text[])
"""

REDEEM = """
    WITH redeemed AS (
        INSERT INTO coin_ledger (kind, reference, student_id, payment_id, coins, at)
        SELECT 'redemption', payment_id, student_id, payment_id, -coins_redeemed, succeeded_at
          FROM purchases
         WHERE payment_id = ANY($1::text[]) AND coins_redeemed > 0
        ON CONFLICT DO NOTHING
        RETURNING student_id, coins
    )
    UPDATE students SET coins = students.coins + spent.coins
      FROM (SELECT student_id, sum(coins) AS coins FROM redeemed GROUP BY student_id) AS spent
     WHERE students.student_id = spent.student_id
"""

REDEEMED = """
    SELECT reference, student_id, -coins, booked_at FROM coin_ledger
     WHERE kind = 'redemption' AND reference = ANY($1::text[])
"""

ORDERS = """
    SELECT p.payment_id, s.student_no, p.payload -> 'metadata'
      FROM purchases p
      JOIN students s USING (student_id)
     WHERE p.payment_id = ANY($1::text[])
"""

ALLOCATE = """
    INSERT INTO allocations (allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id, metadata,
                             approved_at)
    SELECT allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id, metadata::jsonb, $8::timestamptz
      FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
           AS incoming (allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id, metadata)
    ON CONFLICT DO NOTHING
"""

# NOT EXISTS: a replay must not book twice, and an exclusion is no arbiter for its own row.
BOOK = """
    INSERT INTO bookings (allocation_id, trainer_no, student_no, booked, first_day, days_of_week, session_count,
                          start_minute, slot_minutes, timezone)
    SELECT allocation_id, trainer_no, student_no, booked::tstzmultirange, first_day, days_of_week, session_count,
           start_minute, slot_minutes, timezone
      FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::date[], $6::smallint[], $7::smallint[],
                  $8::smallint[], $9::smallint[], $10::text[])
           AS incoming (allocation_id, trainer_no, student_no, booked, first_day, days_of_week, session_count,
                        start_minute, slot_minutes, timezone)
     WHERE NOT EXISTS (SELECT FROM bookings b WHERE b.allocation_id = incoming.allocation_id)
     ORDER BY trainer_no, allocation_id
"""

EXPAND = """
    INSERT INTO series_sessions (allocation_no, trainer_no, starts_at, ends_at, number)
    SELECT a.allocation_no, b.trainer_no, lower(slot), upper(slot), number
      FROM allocations a
      JOIN bookings b ON b.allocation_id = a.allocation_id AND b.active
     CROSS JOIN LATERAL unnest(b.booked) WITH ORDINALITY AS series (slot, number)
     WHERE a.allocation_id = ANY($1::uuid[]) AND a.scheduled_at IS NULL
     ORDER BY a.allocation_no, number
"""

MARK = """
    UPDATE allocations a
       SET scheduled_at = clock_timestamp(),
           latitude = CASE WHEN a.metadata ->> 'learningMode' = 'online' THEN NULL ELSE s.latitude END,
           longitude = CASE WHEN a.metadata ->> 'learningMode' = 'online' THEN NULL ELSE s.longitude END
      FROM students s
     WHERE a.allocation_id = ANY($1::uuid[]) AND a.scheduled_at IS NULL AND s.student_id = a.student_id
"""

# From the booking, not from the thirty rows just written: a third of the work.
SERIES = """
    SELECT a.allocation_id, a.scheduled_at,
           array_agg(extract(epoch FROM lower(slot))::bigint), array_agg(extract(epoch FROM upper(slot))::bigint)
      FROM allocations a
      JOIN bookings b ON b.allocation_id = a.allocation_id AND b.active
     CROSS JOIN LATERAL unnest(b.booked) AS slot
     WHERE a.allocation_id = ANY($1::uuid[])
     GROUP BY a.allocation_id
"""

ADVANCE = "UPDATE purchases SET state = $2 WHERE payment_id = ANY($1::text[]) AND state <> 'refunded'"
