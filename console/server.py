"""The HTTP server inside the service's own event loop."""

import asyncio
import socket
from contextlib import AbstractContextManager, nullcontext

import uvicorn
from starlette.applications import Starlette

from errors import FirstbellError
from settings import Settings


class AddressUnusable(FirstbellError):
    """The address that the settings ask for is taken, or not ours to take."""


class HttpServer:
    """uvicorn without its own handling of signals: stopping has an order, and the service keeps it."""

    def __init__(self, settings: Settings, application: Starlette) -> None:
        config = uvicorn.Config(
            application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5
        )
        self._server = _Server(config)
        self._socket = _listen(settings)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)
        port: int = self._socket.getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task:
            await self._task


class _Server(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def _listen(settings: Settings) -> socket.socket:
    """The port that was asked for; where nobody asked for one, the usual one or any that is free."""
    try:
        return socket.create_server((settings.host, settings.port))
    except OSError as error:
        if "port" in settings.model_fields_set:
            raise AddressUnusable(f"PORT {settings.port} on {settings.host} cannot be had: {error.strerror}") from error
        return socket.create_server((settings.host, 0))
