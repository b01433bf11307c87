"""A deployment for each test: its topics, its groups, its database."""

from collections.abc import AsyncIterator

import pytest

from service import Addresses
from settings import Settings
from tests.e2e.deployment import Deployment


@pytest.fixture
async def deployment(settings: Settings, addresses: Addresses) -> AsyncIterator[Deployment]:
    """Nothing runs yet; whatever the test leaves running is ended."""
    deployment = Deployment(settings, addresses)
    yield deployment
    await deployment.close()
