"""The one error of the embedded default: what could not be had, and what to give instead."""

from errors import FirstbellError


class EmbeddedUnavailable(FirstbellError):
    """The embedded Kafka or PostgreSQL cannot be had or started here; its text is one sentence for people."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL take servers that exist already.")
