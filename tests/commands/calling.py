"""The command line as a person uses it: processes of app.py on this test's database and topics."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from service import Addresses
from settings import Settings
from tests.e2e.deployment import ROOT


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Caller:
    """Runs commands with the settings of a deployment."""

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        self.settings = settings
        self.addresses = addresses

    async def __call__(self, *arguments: str, typed: str = "", **environment: str) -> Printed:
        """Run to the end; `typed` is what stands on its standard input."""
        known = {
            "KAFKA_BOOTSTRAP_SERVERS": self.addresses.kafka,
            "DATABASE_URL": self.addresses.database_url,
            "FIRSTBELL_TOPIC_PREFIX": self.settings.topic_prefix,
            "FIRSTBELL_PARTITIONS": str(self.settings.partitions),
            "FIRSTBELL_HOME": str(self.settings.home),
            "LOG_FORMAT": "json",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "app.py",
            *arguments,
            cwd=ROOT,
            env={**os.environ, **known, **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, complained = await process.communicate(typed.encode())
        return Printed(process.returncode or 0, printed.decode(), complained.decode())
