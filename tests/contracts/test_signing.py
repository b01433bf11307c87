"""Commands that are signed: what is accepted is what was signed, whatever bytes come."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.connection import producer_of
from actors.publishing import Publisher
from contracts.enrollments import EnrollmentCreated
from contracts.repairs import repair_requested
from contracts.signing import Signature, expired, sign, verify
from errors import Refused
from settings import Settings
from tests.contracts.examples import a_command, example
from tests.delivery.kafka import read, upstream

Headers = list[tuple[str, bytes | None]]

KEYS = {"ops-1": b"0123456789abcdef0123456789abcdef", "ops-2": b"fedcba9876543210fedcba9876543210"}
VALUE = b'{"command":"retry"}'
EXPIRES = 1795680000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

bits = st.integers(0, 7).map(lambda n: 1 << n)


def signed(value: bytes = VALUE, key_id: str = "ops-1", expires: int = EXPIRES) -> Headers:
    return [*sign(value, key_id, KEYS[key_id], expires)]


def replaced(name: str, raw: bytes | None) -> Headers:
    return [(found, raw if found == name else value) for found, value in signed()]


def refusal(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> str:
    with pytest.raises(Refused) as caught:
        verify(value, headers, KEYS)
    return caught.value.code


def test_the_headers_are_those_that_the_documentation_describes() -> None:
    told = b"ops-1\n1795680000\n" + VALUE

    headers = sign(VALUE, "ops-1", KEYS["ops-1"], EXPIRES)

    assert headers == [
        ("firstbell-key-id", b"ops-1"),
        ("firstbell-expires", b"1795680000"),
        ("firstbell-signature", hmac.new(KEYS["ops-1"], told, hashlib.sha256).hexdigest().encode()),
    ]
    # As `openssl dgst -sha256 -hmac` gives it.
    assert headers[2][1] == b"b059cdbcfd158eb61df06c29319155afc7eee25d6ee16f56c05a0c5a87ef1171"


@given(st.binary(), st.sampled_from(sorted(KEYS)), st.integers(0, 10**18 - 1))
def test_what_is_signed_with_any_of_the_keys_is_accepted(value: bytes, key_id: str, expires: int) -> None:
    headers = [("traceparent", b"x"), *signed(value, key_id, expires), ("ce_id", None)]

    assert verify(value, headers, KEYS) == Signature(key_id, expires)


@pytest.mark.parametrize("change", [str.upper, str.title, lambda name: name.replace("firstbell", "FirstBell")])
def test_the_names_of_headers_may_be_in_any_case(change: Callable[[str], str]) -> None:
    headers: Headers = [(change(name), raw) for name, raw in signed()]

    assert verify(VALUE, headers, KEYS).key_id == "ops-1"


def test_a_name_that_only_looks_like_one_of_ours_is_another_one() -> None:
    kelvin = [(name.replace("k", "\N{KELVIN SIGN}"), raw) for name, raw in signed()]

    assert refusal(VALUE, kelvin) == "unsigned"


@given(st.binary(min_size=1), st.data())
def test_a_value_of_which_one_bit_is_changed_is_forged(value: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(value) - 1))
    altered = bytearray(value)
    altered[position] ^= data.draw(bits)

    assert refusal(bytes(altered), signed(value)) == "forged"


@given(st.sampled_from(range(3)), st.data())
def test_a_header_of_which_one_bit_is_changed_is_never_accepted_as_another_one(which: int, data: st.DataObject) -> None:
    headers = signed()
    name, raw = headers[which]
    altered = bytearray(raw or b"")
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(bits)
    headers[which] = (name, bytes(altered))

    if which == 2 and bytes(altered).lower() == raw:
        assert verify(VALUE, headers, KEYS) == Signature("ops-1", EXPIRES)
    else:
        assert refusal(VALUE, headers) in {"forged", "unknown_key"}


def test_the_signature_of_one_key_is_none_of_another() -> None:
    assert refusal(VALUE, replaced("firstbell-key-id", b"ops-2")) == "forged"


def test_the_boundaries_between_the_signed_parts_cannot_be_moved() -> None:
    moved = signed(b"2\n" + VALUE, expires=1)

    assert refusal(VALUE, [(name, b"1\n2" if "expires" in name else raw) for name, raw in moved]) == "forged"


def test_a_null_value_has_not_the_signature_of_an_empty_one() -> None:
    headers = signed(b"")

    assert verify(b"", headers, KEYS).key_id == "ops-1"
    assert refusal(None, headers) == "forged"


@pytest.mark.parametrize("none", [None, b""])
@pytest.mark.parametrize("name", ["firstbell-key-id", "firstbell-expires", "firstbell-signature"])
def test_without_one_of_the_headers_a_command_is_unsigned(name: str, none: bytes | None) -> None:
    assert refusal(VALUE, [header for header in signed() if header[0] != name]) == "unsigned"
    assert refusal(VALUE, replaced(name, none)) == "unsigned"


def test_what_has_none_of_the_headers_is_unsigned() -> None:
    assert refusal(VALUE, ()) == "unsigned"


def test_a_key_that_is_not_here_is_named() -> None:
    headers = sign(VALUE, "former", b"0" * 32, EXPIRES)

    with pytest.raises(Refused) as caught:
        verify(VALUE, headers, KEYS)

    assert (caught.value.code, caught.value.facts) == ("unknown_key", {"keyId": "former"})


@pytest.mark.parametrize("again", [b"ops-1", b"1795680000", b"", None])
@pytest.mark.parametrize("name", ["firstbell-key-id", "Firstbell-Expires", "FIRSTBELL-SIGNATURE"])
def test_a_header_that_is_there_twice_is_forged(name: str, again: bytes | None) -> None:
    assert refusal(VALUE, [*signed(), (name, again)]) == "forged"
    assert refusal(VALUE, [(name, again), *signed()]) == "forged"


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        *product(["firstbell-key-id"], [b"ops 1", b"ops-1\n", b"\xff", "öps".encode(), b"a" * 65, b"ops:1"]),
        *product(
            ["firstbell-expires"],
            [b"soon", b"-1", b"+1795680000", b"01795680000", b"1795680000.0", b"1e9", b" 1795680000", b"1795680000\n"],
        ),
        *product(["firstbell-expires"], [b"1_795_680_000", b"9" * 19, b"9" * 5000, "١٧٩٥".encode(), b"\xff"]),
        *product(["firstbell-signature"], [b"0" * 63, b"0" * 65, b"0" * 64, b"g" * 64, b"00 " * 22, b"\xff" * 64]),
    ],
)
def test_a_header_that_is_not_written_as_ours_are_is_forged(name: str, raw: bytes) -> None:
    assert refusal(VALUE, replaced(name, raw)) == "forged"


names = st.sampled_from(["firstbell-key-id", "firstbell-expires", "firstbell-signature"]) | st.text()
raws = st.none() | st.binary() | st.sampled_from([raw for _, raw in signed()])


@given(st.none() | st.binary(), st.lists(st.tuples(names, raws), max_size=6))
def test_whatever_the_headers_hold_is_refused_and_raises_nothing_else(
    value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    assert refusal(value, headers) in {"unsigned", "unknown_key", "forged"}


def test_without_keys_nothing_verifies() -> None:
    with pytest.raises(Refused, match="unknown_key"):
        verify(VALUE, signed(), {})


def test_a_signature_is_good_until_its_expiry_and_not_at_it() -> None:
    until = datetime.fromtimestamp(EXPIRES, UTC)
    signature = Signature("ops-1", EXPIRES)

    assert not expired(signature, until - timedelta(microseconds=1))
    assert expired(signature, until)
    assert not expired(Signature("ops-1", 10**18 - 1), datetime.max.replace(tzinfo=UTC))


def test_the_keys_of_the_setting_keep_their_order() -> None:
    settings = Settings(repair_keys=f"new.1:{'n' * 32}, old_1:{'o' * 40}:=/+\n")

    assert list(settings.signing_keys.items()) == [("new.1", b"n" * 32), ("old_1", b"o" * 40 + b":=/+")]


def test_without_the_setting_there_are_no_keys() -> None:
    assert Settings().signing_keys == {}


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("hush" * 8, "expected id:secret"),
        (f":{'hush' * 8}", "expected id:secret"),
        (f"ops 1:{'hush' * 8}", "expected id:secret"),
        (f"{'o' * 65}:{'hush' * 8}", "expected id:secret"),
        ("ops-1:" + "hush" * 7 + "hus", "32 or more"),
        ("ops-1:" + "hush" * 8 + " hush", "visible ASCII"),
        ("ops-1:" + "hush" * 8 + "\u00fc", "visible ASCII"),
        ("ops-1:" + "hush" * 8 + "\udcff", "visible ASCII"),
        ("ops-1:" + "hush" * 8 + ",", "expected id:secret"),
        ("ops-1:" + "hush" * 8 + ",ops-1:" + "rush" * 8, "the key id ops-1 is there more than once"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_without_a_word_of_their_secrets(
    monkeypatch: pytest.MonkeyPatch, listed: str, said: str
) -> None:
    monkeypatch.setenv("FIRSTBELL_REPAIR_KEYS", listed)

    with pytest.raises(ValidationError) as caught:
        Settings()

    assert said in str(caught.value)
    assert "repair_keys" in str(caught.value)
    assert "hush" not in str(caught.value)


async def test_commands_are_signed_with_the_first_key_and_nothing_else_is(kafka: str, settings: Settings) -> None:
    command = repair_requested.validate_python(
        a_command({"command": "dismiss", "parkedId": "7d3f3a10-52c4-5b7e-8f21-000000000001"})
    )
    event = EnrollmentCreated.model_validate(example("enrollments.created"))
    producer = producer_of(settings, kafka)
    before = datetime.now(UTC)

    async with upstream(kafka, settings):
        await producer.start()
        try:
            await Publisher(producer, settings.topic_prefix, KEYS)([(command, TRACE), (event, TRACE)])
            await Publisher(producer, settings.topic_prefix)([(command.model_copy(update={"command_id": "c2"}), TRACE)])
        finally:
            await producer.stop()
        first, second = sorted(
            await read(kafka, settings, "repairs.requested", 2), key=lambda record: record.key != b"cmd_1"
        )
        (other,) = await read(kafka, settings, "enrollments.created", 1)

    signature = verify(first.value, first.headers, KEYS)
    assert signature.key_id == "ops-1"
    assert not expired(signature, before + timedelta(minutes=59))
    assert expired(signature, before + timedelta(minutes=70))
    assert refusal(second.value, second.headers) == "unsigned"
    assert refusal(other.value, other.headers) == "unsigned"
