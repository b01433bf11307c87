"""What is wrong with a record is said in one sentence about one field, by its name on the wire."""

import json
from copy import deepcopy
from functools import reduce
from typing import Any

import pytest

from contracts.decode import MAX_BYTES, MAX_DEPTH, Tombstone, decode
from contracts.topics import TOPICS
from errors import Unreadable
from tests.contracts.examples import a_command, example, read

ABSENT = object()
TOPIC = "payments.succeeded"


def refusal(topic: str, value: bytes | None, key: bytes | None = b"k") -> dict[str, Any]:
    """The facts of the error that reading these bytes ends in."""
    with pytest.raises(Unreadable) as caught:
        decode(topic, key, value)
    return caught.value.facts


def altered(topic: str, path: str, value: object) -> bytes:
    """The example of a topic with one field changed or, for ABSENT, taken out."""
    message: Any = deepcopy(example(topic))
    *parents, name = [int(part) if part.isdigit() else part for part in path.split(".")]
    part: Any = reduce(lambda found, step: found[step], parents, message)
    if value is ABSENT:
        del part[name]
    else:
        part[name] = value
    return json.dumps(message).encode()


ID = "an id of 1 to 64 characters"
INSTANT = "an instant with its offset"
WHOLE = "a whole number of 0 or more"
DEEP: list[Any] = reduce(lambda inner, _: [inner], range(MAX_DEPTH - 2), [])

WRONG_PAYMENTS: list[tuple[str, object, str]] = [
    ("paymentId", ABSENT, "required"),
    ("paymentId", None, ID),
    ("paymentId", "", ID),
    ("paymentId", "a" * 65, ID),
    ("paymentId", "pay 1", ID),
    ("paymentId", "pay_1\n", ID),
    ("paymentId", "pay_\u00e9", ID),
    ("paymentId", "pay_\u0663", ID),
    ("paymentId", 17, ID),
    ("paymentId", ["pay_1"], ID),
    ("studentId", ABSENT, "required"),
    ("studentId", "../../etc", ID),
    ("amountMinor", ABSENT, "required"),
    ("amountMinor", None, WHOLE),
    ("amountMinor", -1, WHOLE),
    ("amountMinor", "1499900", WHOLE),
    ("amountMinor", True, WHOLE),
    ("amountMinor", 1.0, WHOLE),
    ("amountMinor", 2**63, WHOLE),
    ("amountMinor", 10**4000, WHOLE),
    ("currency", ABSENT, "required"),
    ("currency", "RUPEE", "a currency of three letters"),
    ("currency", "IN1", "a currency of three letters"),
    ("currency", 356, "a currency of three letters"),
    ("succeededAt", ABSENT, "required"),
    ("succeededAt", 1732262575, INSTANT),
    ("succeededAt", "1732262575", INSTANT),
    ("succeededAt", "2026-11-22", INSTANT),
    ("succeededAt", "22 November 2026", INSTANT),
    ("succeededAt", "2026-02-30T08:02:55Z", INSTANT),
    ("succeededAt", "2026-11-22T25:02:55Z", INSTANT),
    ("succeededAt", "2026-11-22T08:02:55+24:00", INSTANT),
    ("succeededAt", "2026-11-22T08:02:55", "is missing at its end"),
    ("succeededAt", "2026-11-22 08:02", "is missing at its end"),
    ("succeededAt", "0001-01-01T00:00:00+05:00", "an instant of the years 1 to 9999"),
    ("succeededAt", "9999-12-31T23:59:59-05:00", "an instant of the years 1 to 9999"),
    ("succeededAt", "0000-01-01T00:00:00Z", INSTANT),
    ("coinsRedeemed", -1, WHOLE),
    ("coinsRedeemed", "120", WHOLE),
    ("coinsRedeemed", 2**63, WHOLE),
    ("metadata", ABSENT, "required"),
    ("metadata", None, "a JSON object"),
    ("metadata", "{}", "a JSON object"),
    ("metadata", [], "a JSON object"),
    ("metadata.courseId", ABSENT, "required"),
    ("metadata.courseId", "", ID),
    ("metadata.courseId", {"id": "crs_yoga"}, ID),
    ("metadata.cartItemId", "an item", ID),
    ("metadata.cartItemId", 4, ID),
    ("metadata.processingItemId", "i" * 65, ID),
    ("metadata.learningMode", 1, "a text"),
    ("metadata.timeSlot", "16\0:00", "text without NUL characters"),
]


@pytest.mark.parametrize(("path", "value", "expected"), WRONG_PAYMENTS)
def test_a_payment_with_a_wrong_field_is_refused_by_its_name(path: str, value: object, expected: str) -> None:
    facts = refusal(TOPIC, altered(TOPIC, path, value))

    assert facts["field"] == path
    assert expected in facts["expected"]


WRONG_ELSEWHERE: list[tuple[str, str, object, str, str]] = [
    ("payments.refunded", "refundId", ABSENT, "refundId", "required"),
    ("payments.refunded", "coinsReturned", -1, "coinsReturned", WHOLE),
    ("payments.refunded", "refundedAt", "2026-11-30", "refundedAt", INSTANT),
    ("enrollments.created", "enrollmentId", "enr_1", "enrollmentId", "an id of ours"),
    ("enrollments.created", "version", 0, "version", "a whole number of 1 or more"),
    ("allocations.approved", "sessionCount", "30", "sessionCount", "a whole number of 1 or more"),
    ("allocations.approved", "provisional", "no", "provisional", "true or false"),
    ("sessions.scheduled", "sessions", {}, "sessions", "a list"),
    ("sessions.scheduled", "sessions.1.startsAt", "16:00", "sessions[1].startsAt", INSTANT),
    ("students.changed", "latitude", "12.97", "latitude", "a finite number"),
    ("students.changed", "latitude", True, "latitude", "a finite number"),
    ("students.changed", "longitude", 10**400, "longitude", "a finite number"),
    ("students.changed", "timezone", "Mars/Olympus", "timezone", "a time zone of the IANA database"),
    ("students.changed", "timezone", "localtime", "timezone", "a time zone of the IANA database"),
    ("students.changed", "timezone", "../../etc/passwd", "timezone", "a time zone of the IANA database"),
    ("students.changed", "timezone", 330, "timezone", "a time zone of the IANA database"),
    ("trainers.changed", "timezone", ABSENT, "timezone", "a time zone of the IANA database"),
    ("trainers.changed", "timezone", "", "timezone", "a time zone of the IANA database"),
    ("trainers.changed", "active", 1, "active", "true or false"),
    ("trainers.changed", "courses", "crs_yoga", "courses", "a list"),
    ("trainers.changed", "courses.0", "", "courses[0]", ID),
    ("trainers.changed", "latitude", 90.1, "latitude", "a number from -90 to 90"),
    ("trainers.changed", "longitude", -181, "longitude", "a number from -180 to 180"),
    ("trainers.changed", "latitude", ABSENT, "latitude", "a latitude and a longitude"),
    ("trainers.changed", "longitude", None, "longitude", "a latitude and a longitude"),
    ("trainers.changed", "radiusKm", -1, "radiusKm", "a number of 0 or more"),
    ("trainers.changed", "radiusKm", "12", "radiusKm", "a number of 0 or more"),
    ("trainers.changed", "workingHours", {}, "workingHours", "a list"),
    ("trainers.changed", "workingHours.0", "06:00", "workingHours[0]", "a JSON object"),
    ("trainers.changed", "workingHours.0.days", [], "workingHours[0].days", "days of the week"),
    ("trainers.changed", "workingHours.0.days", ["mon", "funday"], "workingHours[0].days", "days of the week"),
    ("trainers.changed", "workingHours.0.days", [1], "workingHours[0].days", "days of the week"),
    ("trainers.changed", "workingHours.0.days", {"mon": 1}, "workingHours[0].days", "days of the week"),
    ("trainers.changed", "workingHours.0.from", "6:00", "workingHours[0].from", "a time from 00:00 to 23:59"),
    ("trainers.changed", "workingHours.0.from", "24:00", "workingHours[0].from", "a time from 00:00 to 23:59"),
    ("trainers.changed", "workingHours.0.from", 6, "workingHours[0].from", "a time from 00:00 to 23:59"),
    ("trainers.changed", "workingHours.0.to", "24:01", "workingHours[0].to", "a time from 00:00 to 24:00"),
    ("trainers.changed", "workingHours.0.to", "06:00", "workingHours[0].to", "a time other than `from`"),
    ("trainers.changed", "workingHours.0.to", ABSENT, "workingHours[0].to", "required"),
    ("trainers.busy", "endsAt", "2026-12-24T00:00:00Z", "endsAt", "an instant after startsAt"),
    ("trainers.busy", "endsAt", "2026-12-24T05:29:59+05:30", "endsAt", "an instant after startsAt"),
    ("trainers.busy", "action", "moved", "action", "one of added, removed"),
    ("carts.changed", "courseId", ABSENT, "courseId", "required"),
    ("carts.changed", "action", None, "action", "one of added, removed"),
    ("coins.credited", "coins", 0, "coins", "a whole number of 1 or more"),
    ("coins.credited", "coins", 1.5, "coins", "a whole number of 1 or more"),
    ("repairs.requested", "command", ABSENT, "command", "one of retry, resume"),
    ("repairs.requested", "command", "format", "command", "one of retry, resume"),
    ("repairs.requested", "command", {}, "command", "one of retry, resume"),
    ("repairs.requested", "commandId", ABSENT, "commandId", "required"),
    ("repairs.requested", "requestedBy", "", "requestedBy", "a text of 1 to 320 characters"),
    ("repairs.requested", "dryRun", "yes", "dryRun", "true or false"),
    ("repairs.requested", "enrollmentId", "enr_1", "enrollmentId", "an id of ours"),
    ("repairs.requested", "sessionCount", 2.5, "sessionCount", "a session count"),
    ("repairs.requested", "force.0", "doubleBooking", "force[0]", "one of distance, hours, course"),
    ("repairs.completed", "outcome", "done", "outcome", "one of applied"),
    ("fulfilment.parked", "facts", [], "facts", "a JSON object"),
    ("fulfilment.parked", "parkedId", ABSENT, "parkedId", "required"),
]


@pytest.mark.parametrize(("topic", "path", "value", "field", "expected"), WRONG_ELSEWHERE)
def test_a_wrong_field_is_refused_by_its_name(topic: str, path: str, value: object, field: str, expected: str) -> None:
    facts = refusal(topic, altered(topic, path, value))

    assert facts["field"] == field
    assert expected in facts["expected"]


def test_the_names_of_python_are_nobodys_names_on_the_wire() -> None:
    message = example(TOPIC)
    message["payment_id"] = message.pop("paymentId")

    assert refusal(TOPIC, json.dumps(message).encode())["field"] == "paymentId"


def test_a_bulk_names_1_to_5000_items() -> None:
    one = "7d3f3a10-52c4-5b7e-8f21-000000000001"
    bulk = a_command({"command": "bulk", "apply": "retry", "parkedIds": [one]})

    none = refusal("repairs.requested", json.dumps({**bulk, "parkedIds": []}).encode())
    most = read("repairs.requested", {**bulk, "parkedIds": [one] * 5_000})
    more = refusal("repairs.requested", json.dumps({**bulk, "parkedIds": [one] * 5_001}).encode())

    assert none == {"field": "parkedIds", "expected": "a list of at least 1"}
    assert more == {"field": "parkedIds", "expected": "a list of at most 5000"}
    assert len(most.parked_ids) == 5_000  # type: ignore[attr-defined]


WRONG_BYTES: list[tuple[str, bytes, str, str]] = [
    ("nothing", b"", "value", "JSON (EOF"),
    ("no object", b"[]", "value", "a JSON object"),
    ("null", b"null", "value", "a JSON object"),
    ("a number", b"1e999", "value", "a JSON object"),
    ("half", b'{"paymentId": "pay_', "value", "JSON (EOF"),
    ("two values", b"{} {}", "value", "JSON (trailing"),
    ("single quotes", b"{'a': 1}", "value", "JSON ("),
    ("not UTF-8", b'{"paymentId": "\xff"}', "value", "JSON in UTF-8"),
    ("UTF-16", '{"paymentId": "a"}'.encode("utf-16"), "value", "JSON in UTF-8"),
    ("a surrogate as bytes", b'{"a": "\xed\xa0\x80"}', "value", "JSON in UTF-8"),
    ("a byte order mark", b"\xef\xbb\xbf{}", "value", "without a byte order mark"),
    ("a lone leading surrogate", b'{"a": "\\ud800"}', "value", "JSON ("),
    ("a lone trailing surrogate", b'{"a": "\\udc00x"}', "value", "JSON ("),
    ("a NUL byte in a text", b'{"a": "\x00"}', "value", "JSON (control"),
    ("NUL bytes", b"\x00" * 40, "value", "JSON ("),
    ("a NUL", b'{"a": ["x", {"b": "\\u0000"}]}', "a[1].b", "NUL"),
    ("a NUL in a name", b'{"a": {"b\\u0000": 1}}', "a.b\N{SYMBOL FOR NULL}", "NUL"),
    ("a NUL after a backslash", b'{"a": "\\\\\\u0000"}', "a", "NUL"),
    ("a NUL that a later one hides", b'{"a": "\\u0000", "a": 1}', "value", "NUL"),
    ("NaN", b'{"a": {"b": NaN}}', "a.b", "a finite number"),
    ("infinity", b'{"a": Infinity}', "a", "a finite number"),
    ("negative infinity", b'{"a": [-Infinity]}', "a[0]", "a finite number"),
    ("a NaN that a later one hides", b'{"a": NaN, "a": 1}', "value", "a finite number"),
    ("a number without end", b'{"a": ' + b"9" * 5_000 + b"}", "value", "JSON (number out of range"),
    ("too many bytes", b'{"a": "' + b"x" * MAX_BYTES + b'"}', "value", f"at most {MAX_BYTES} bytes"),
    ("brackets", b"[" * MAX_BYTES, "value", "a nesting of at most 32 levels"),
    ("braces", b'{"a":' * 1_000 + b"1" + b"}" * 1_000, "value", "a nesting of at most 32 levels"),
    ("quotes without end", b"[" * 33 + b'\\"' * 100_000, "value", "a nesting of at most 32 levels"),
]


@pytest.mark.parametrize(
    ("value", "field", "expected"), [case[1:] for case in WRONG_BYTES], ids=[c[0] for c in WRONG_BYTES]
)
def test_bytes_that_are_no_message_are_refused(value: bytes, field: str, expected: str) -> None:
    facts = refusal(TOPIC, value)

    assert facts["field"] == field
    assert expected in facts["expected"]


@pytest.mark.parametrize("number", [b"1e999", b"-1e400", b"9" * 400 + b".5"])
@pytest.mark.parametrize("name", ["date", "unknown"])
def test_a_number_beyond_a_float_is_refused_wherever_it_hides(number: bytes, name: str) -> None:
    value = altered(TOPIC, f"metadata.{name}", [{"a": "HERE"}]).replace(b'"HERE"', number)

    assert refusal(TOPIC, value) == {"field": f"metadata.{name}[0].a", "expected": "a finite number"}


def test_a_field_of_hostile_length_is_cut() -> None:
    facts = refusal(TOPIC, b'{"' + b"n" * 5_000 + b'": NaN}')

    assert facts["field"] == "n" * 200


def test_a_nesting_of_32_levels_is_read_and_one_of_33_is_not() -> None:
    assert read(TOPIC, {**example(TOPIC), "deep": DEEP})
    assert refusal(TOPIC, altered(TOPIC, "deep", [DEEP]))["field"] == "value"


def test_brackets_inside_texts_are_no_nesting() -> None:
    assert read(TOPIC, {**example(TOPIC), "note": '\\"[{' * 100 + "\\"})


@pytest.mark.parametrize("text", ["\\u0000", "NaN", "Infinity", "\\\\u0000"])
def test_a_text_that_only_looks_like_poison_is_read(text: str) -> None:
    event = read(TOPIC, {**example(TOPIC), "note": text})

    assert json.loads(event.to_wire())["note"] == text


def test_a_name_that_comes_twice_counts_as_written_last() -> None:
    value = altered(TOPIC, "studentId", "stu_2").replace(b'"studentId"', b'"studentId": "stu_1", "studentId"')

    event = decode(TOPIC, None, value)

    assert json.loads(event.to_wire())["studentId"] == "stu_2"  # type: ignore[union-attr]


@pytest.mark.parametrize("topic", [name for name, spec in TOPICS.items() if spec.tombstones])
def test_a_null_value_on_a_feed_says_that_its_key_was_deleted(topic: str) -> None:
    assert decode(topic, b"trn_4", None) == Tombstone(topic, "trn_4")


@pytest.mark.parametrize("key", [None, b"", b"trn 4", b"trn_4\n", b"\xff", b"t" * 65, b'{"trainerId": "trn_4"}'])
def test_a_deletion_with_an_unusable_key_is_refused(key: bytes | None) -> None:
    assert refusal("trainers.changed", None, key)["field"] == "key"


@pytest.mark.parametrize("topic", [name for name, spec in TOPICS.items() if not spec.tombstones])
def test_a_null_value_is_refused_where_nothing_can_be_deleted(topic: str) -> None:
    assert refusal(topic, None) == {
        "field": "value",
        "expected": "a JSON object: a null value means nothing on this topic",
    }


@pytest.mark.parametrize("key", [None, b"", b"\xff\x00", b"x" * 1_000])
def test_a_key_does_not_matter_where_there_is_a_value(key: bytes | None) -> None:
    assert decode(TOPIC, key, json.dumps(example(TOPIC)).encode())
