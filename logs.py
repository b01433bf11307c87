"""Logs: a constant message, variables as fields; JSON wherever a machine reads them."""

import logging
import sys
import time
from collections.abc import Callable

import structlog

from settings import Settings

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


# Without the local variables: they hold what the records say.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure_logs(settings: Settings) -> None:
    """Send our own and the libraries' logs to stderr, in one format."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    renderer: list[structlog.typing.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OncePerTemplate(time.monotonic))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("firstbell").setLevel(settings.log_level)


class OncePerTemplate(logging.Filter):
    """Lets one line a logger and template through per ten seconds, for loggers that are not ours.

    While a broker is away its client writes a quarter of a million lines a minute.
    """

    def __init__(self, clock: Callable[[], float], seconds: float = 10) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.name.startswith("firstbell"):
            return True
        key = (record.name, str(record.msg)[:80])
        now = self._clock()
        if now - self._last.get(key, -self._seconds) < self._seconds:
            return False
        if len(self._last) > 1000:  # noqa: PLR2004  templates with variables in them must not fill the memory
            self._last.clear()
        self._last[key] = now
        return True
