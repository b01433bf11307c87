"""Where the services of this folder can be reached: one file for each running process, gone when it ends."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

# The password of postgresql://user:password@host, or one behind it.
_PASSWORD = re.compile(r"(?<=://)([^:@/?]*):[^?]*@|(?<=[?&]password=)[^&]*|(?<=[?&]sslpassword=)[^&]*")


@contextmanager
def known(home: Path, addresses: dict[str, str]) -> Iterator[None]:
    """Leave the addresses where `running_here` finds them, readable by this user only."""
    file = home / "run" / f"service-{os.getpid()}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(addresses))
    draft.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def running_here(home: Path) -> dict[str, str] | None:
    """The addresses of a process that lives and answers: after a SIGKILL its file stays behind."""
    for file in sorted((home / "run").glob("service-*.json")):
        with suppress(OSError, HTTPException, ValueError, KeyError):
            os.kill(int(file.stem.removeprefix("service-")), 0)
            addresses: dict[str, str] = json.loads(file.read_text())
            with urlopen(f"{addresses['http']}/metrics", timeout=5):  # noqa: S310  an address that we wrote
                return addresses
    return None


def masked(address: str) -> str:
    """The address as it may be shown and logged: without a password."""
    return _PASSWORD.sub(lambda match: f"{match[1]}:***@" if match[1] is not None else "***", address)
