"""The programs of Prometheus, as tests/monitoring/install brings them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.monitoring.rules import MONITORING

_OWN = Path(__file__).parent / ".debian" / "bin"


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; the test fails where there is none."""
    found = shutil.which(name, path=f"{_OWN}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.fail(f"{name} is missing: run tests/monitoring/install, or `make monitoring`, which does", pytrace=False)
    return found


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool in the folder of the rules, and wait for it."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, cwd=MONITORING, check=False, capture_output=True, text=True)
