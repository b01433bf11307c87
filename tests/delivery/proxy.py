"""A small TCP proxy in front of a server, for tests that cut its lines and mend them.

In front of Kafka it also puts its own port into the answers that name the broker's, or clients
would go round it.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, unquote, urlsplit

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Listens on a free port of 127.0.0.1; `cut` refuses and breaks every line, `mend` takes new ones again."""

    def __init__(self, connect: Connect, hidden: bytes | None = None) -> None:
        self.port = 0
        self.cuts = 0
        self._connect = connect
        self._hidden = hidden
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        self.cuts += 1
        if self._server:
            self._server.close()
            self._server = None
        for line in self._lines:
            line.transport.abort()
        pumps = list(self._pumps)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        self._lines |= {writer, far_writer}
        back = self._pump_frames if self._hidden else _pump
        pumps = [
            asyncio.ensure_future(_pump(reader, far_writer)),
            asyncio.ensure_future(back(far_reader, writer)),
        ]
        self._pumps.update(pumps)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for line in (writer, far_writer):
                line.transport.abort()
            self._pumps.difference_update(pumps)
            self._lines -= {writer, far_writer}

    async def _pump_frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Kafka's answers: whole frames, with the broker's address replaced wherever one names it."""
        hidden = self._hidden or b""
        shown = hidden[:-4] + struct.pack(">i", self.port)
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = await reader.readexactly(4)
                frame = await reader.readexactly(int.from_bytes(size, "big"))
                writer.write(size + frame.replace(hidden, shown))
                await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def before_kafka(address: str) -> AsyncIterator[Proxy]:
    """A proxy in front of a broker on this machine."""
    host, port = address.rsplit(":", 1)
    proxy = Proxy(lambda: asyncio.open_connection(host, int(port)), host.encode() + struct.pack(">i", int(port)))
    async with _open(proxy):
        yield proxy


@asynccontextmanager
async def before_database(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of a database (its Unix socket too), and the address by which it is reached."""
    parts = urlsplit(url)
    folder = parse_qs(parts.query).get("host", [""])[0]
    port = parts.port or 5432
    if folder.startswith("/"):
        proxy = Proxy(lambda: asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}"))
    else:
        proxy = Proxy(lambda: asyncio.open_connection(parts.hostname or folder or "127.0.0.1", port))
    async with _open(proxy):
        user = parts.netloc.rpartition("@")[0]
        name = unquote(parts.path)
        yield proxy, f"postgresql://{user or 'postgres'}@{proxy.address}{name}?sslmode=disable"


@asynccontextmanager
async def _open(proxy: Proxy) -> AsyncIterator[None]:
    await proxy.mend()
    try:
        yield
    finally:
        await proxy.cut()
