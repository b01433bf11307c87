"""The broker and the database of the embedded default: a real Apache Kafka and a real PostgreSQL, from packages.

Needs the extra `embedded`; whoever imports this needs it only when it starts something.
"""

from embedded.servers import Servers, running, servers
from embedded.unavailable import EmbeddedUnavailable

__all__ = ["EmbeddedUnavailable", "Servers", "running", "servers"]
