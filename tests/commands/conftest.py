"""The command line on this test's deployment."""

import pytest

from service import Addresses
from settings import Settings
from tests.commands.calling import Caller


@pytest.fixture
def call(settings: Settings, addresses: Addresses) -> Caller:
    """Runs a command of app.py."""
    return Caller(settings, addresses)
