"""Signatures of commands: HMAC-SHA256 over key id, expiry and the raw value, in three headers.

Whoever holds a key may command. What a signature is worth is judged by whoever reads the record: a
wrong one is refused here, one that is right but too old where it is known whether the command is new.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from errors import Refused

KEY_ID = "firstbell-key-id"
EXPIRES = "firstbell-expires"
SIGNATURE = "firstbell-signature"

_NAMES = (KEY_ID, EXPIRES, SIGNATURE)
# One way to write each, ASCII only: what was signed and what was understood cannot differ.
_SHAPES = {
    KEY_ID: re.compile(rb"[A-Za-z0-9._-]{1,64}"),
    EXPIRES: re.compile(rb"0|[1-9][0-9]{0,17}"),
    SIGNATURE: re.compile(rb"[0-9A-Fa-f]{64}"),
}


class Signature(NamedTuple):
    """A signature that is right: whose key made it, and until when it is good (Unix seconds)."""

    key_id: str
    expires: int


def sign(value: bytes, key_id: str, secret: bytes, expires: int) -> list[tuple[str, bytes]]:
    """The three headers of a value; `expires` in Unix seconds."""
    key, until = key_id.encode(), b"%d" % expires
    return [(KEY_ID, key), (EXPIRES, until), (SIGNATURE, _mac(secret, key, until, value).hex().encode())]


def verify(value: bytes | None, headers: Sequence[tuple[str, bytes | None]], keys: Mapping[str, bytes]) -> Signature:
    """The signature of a record, whatever its expiry; names of headers in any case.

    Raises: Refused `unsigned` (a header is missing or empty), `unknown_key`, or `forged` (the value, the key id or
    the expiry is not what was signed; a header twice; one that is written in no way of ours).
    """
    found: dict[str, bytes] = {}
    for name, raw in headers:
        if name.isascii() and (known := name.lower()) in _NAMES:
            if known in found:
                raise Refused("forged", f"The header {known} is there more than once.", header=known)
            found[known] = raw or b""
    if missing := [name for name in _NAMES if not found.get(name)]:
        raise Refused("unsigned", f"The command is not signed: {', '.join(missing)} is missing.", missing=missing)
    for name, shape in _SHAPES.items():
        if not shape.fullmatch(found[name]):
            raise Refused("forged", f"The header {name} cannot be read.", header=name)
    key_id = found[KEY_ID].decode()
    if key_id not in keys:
        raise Refused("unknown_key", f"No key here has the id {key_id}.", keyId=key_id)
    expected = _mac(keys[key_id], found[KEY_ID], found[EXPIRES], value or b"")
    # A null value is never signed: it would have the signature of an empty one.
    if not hmac.compare_digest(expected, bytes.fromhex(found[SIGNATURE].decode())) or value is None:
        raise Refused("forged", "The signature does not match what the command says.", keyId=key_id)
    return Signature(key_id, int(found[EXPIRES]))


def expired(signature: Signature, at: datetime) -> bool:
    """Whether the signature was no longer good at this instant (with a zone)."""
    return signature.expires <= at.timestamp()


def _mac(secret: bytes, key_id: bytes, expires: bytes, value: bytes) -> bytes:
    return hmac.digest(secret, b"\n".join((key_id, expires, value)), hashlib.sha256)
