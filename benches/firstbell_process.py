"""Contender A: Firstbell itself, all actors and HTTP in one process, as `app.py run` composes it.

`python -m benches.firstbell_process [PROFILE]`; addresses and settings come from the environment.
"""

import sys
from pathlib import Path

from benches.child import run, serve_until_told
from logs import configure_logs
from service import Addresses, running
from settings import Settings


async def _serve() -> None:
    settings = Settings()
    if settings.kafka_bootstrap_servers is None or settings.database_url is None:
        sys.exit("KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are needed")
    configure_logs(settings)
    addresses = Addresses(settings.kafka_bootstrap_servers, settings.database_url.get_secret_value())
    async with running(settings, addresses) as service:
        await service.wait_until_ready()
        await serve_until_told()


if __name__ == "__main__":
    run(_serve, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
