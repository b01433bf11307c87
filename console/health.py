"""What a supervisor and Prometheus ask: /healthz, /readyz, /metrics."""

from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

# What stands in the way, by part; empty when nothing does.
Obstacles = Callable[[], Awaitable[dict[str, str]]]


def health_app(alive: Obstacles, ready: Obstacles, expose: Callable[[], Awaitable[bytes]]) -> Starlette:
    """The HTTP application; `alive` fails only for what a new process would mend."""

    async def healthz(_: Request) -> Response:
        return _answer(await alive())

    async def readyz(_: Request) -> Response:
        return _answer(await ready())

    async def metrics(_: Request) -> Response:
        return Response(await expose(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def _answer(obstacles: dict[str, str]) -> Response:
    return JSONResponse(
        {"status": "unavailable" if obstacles else "ok", "obstacles": obstacles}, status_code=503 if obstacles else 200
    )
