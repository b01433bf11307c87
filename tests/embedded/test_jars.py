import gc
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from embedded import jars
from embedded.jars import Jar
from embedded.unavailable import EmbeddedUnavailable

_NOWHERE = "http://127.0.0.1:1"

# jgo closes no answer that it refuses or that breaks off: its socket is closed when it is collected, so collect here.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _sockets_collected() -> Iterator[None]:
    yield
    gc.collect()


def test_the_lock_names_kafka_with_a_log_backend_of_the_version_of_its_core() -> None:
    locked = {jar.artifact: jar for jar in jars.locked()}

    assert len(locked) >= 45
    assert all(len(jar.sha256) == 64 for jar in locked.values())
    assert tuple(map(int, locked["kafka_2.13"].version.split("."))) >= (4, 3)
    assert locked["log4j-slf4j-impl"].version == locked["log4j-core"].version


def test_files_come_from_the_mirror_and_next_time_from_the_cache_without_a_network(tmp_path: Path) -> None:
    files = {a_jar(f"part{n}", content): content for n in range(20) for content in [f"content {n}".encode()]}
    with repository({address(jar): content for jar, content in files.items()}) as mirror:
        fetched = jars.resolve(list(files), cache=tmp_path, mirror=mirror, progress=print)

    again = jars.resolve(list(files), cache=tmp_path, mirror=_NOWHERE, progress=print)

    assert [path.read_bytes() for path in fetched] == list(files.values())
    assert again == fetched


def test_the_mirror_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = a_jar("part", b"content")
    with repository({address(jar): b"content"}) as mirror:
        monkeypatch.setenv("FIRSTBELL_MAVEN_MIRROR", f"{mirror}/")

        (path,) = jars.resolve([jar], cache=tmp_path, progress=print)

    assert path.read_bytes() == b"content"


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    jar = a_jar("part", b"content")
    damaged = tmp_path / jar.place
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"conte")

    with repository({address(jar): b"content"}) as mirror:
        (path,) = jars.resolve([jar], cache=tmp_path, mirror=mirror, progress=print)

    assert path == damaged
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("sent", [b"forged", b"conte"], ids=["other content", "cut short"])
def test_what_has_another_hash_never_enters_the_cache(tmp_path: Path, sent: bytes) -> None:
    jar = a_jar("part", b"content")

    with repository({address(jar): sent}) as mirror, pytest.raises(EmbeddedUnavailable, match="part"):
        jars.resolve([jar], cache=tmp_path, mirror=mirror, progress=print)

    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    jar = a_jar("part", b"content")

    with repository({address(jar): b"conte"}, promised=7) as mirror, pytest.raises(EmbeddedUnavailable):
        jars.resolve([jar], cache=tmp_path, mirror=mirror, progress=print)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reachable", [True, False], ids=["not there", "no network"])
def test_what_cannot_be_fetched_is_told_in_one_sentence(tmp_path: Path, *, reachable: bool) -> None:
    jar = a_jar("part", b"content")

    with repository({}) as mirror, pytest.raises(EmbeddedUnavailable) as raised:
        jars.resolve([jar], cache=tmp_path, mirror=mirror if reachable else _NOWHERE, progress=print)

    assert str(raised.value).startswith("org.example:part:1.0 of Apache Kafka could not be fetched")
    assert "KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL" in str(raised.value)


def test_the_real_files_are_checked_too() -> None:
    forged = [replace(jar, sha256="0" * 64) for jar in jars.locked()[:1]]

    with pytest.raises(EmbeddedUnavailable):
        jars.resolve(forged, mirror=_NOWHERE, progress=print)


def a_jar(artifact: str, content: bytes) -> Jar:
    return Jar("org.example", artifact, "1.0", hashlib.sha256(content).hexdigest())


def address(jar: Jar) -> str:
    return f"/{jar.place.as_posix()}"


@contextmanager
def repository(files: dict[str, bytes], promised: int | None = None) -> Iterator[str]:
    """A Maven repository on this machine; it may promise more bytes than it sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(promised or len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
