"""The jars of Apache Kafka: a flat list with hashes, fetched several at once into the usual Maven cache.

A file is fetched beside the cache and moved into it when its hash is right, so a half-fetched one is never seen.
Every file's hash is checked at every start, cached ones too.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from embedded.unavailable import EmbeddedUnavailable

LOCK = Path(__file__).with_name("kafka.lock")
_AT_ONCE = 8
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def place(self) -> Path:
        """Where a Maven cache keeps it, relative to the cache."""
        folder = Path(*self.group.split("."), self.artifact, self.version)
        return folder / f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def locked(lock: Path = LOCK) -> list[Jar]:
    """Read the lock: `group:artifact:version sha256` a line, `#` begins a comment."""
    lines = (line.split("#")[0].split() for line in lock.read_text(encoding="utf-8").splitlines())
    return [_jar(*line) for line in lines if line]


def _jar(coordinates: str, sha256: str) -> Jar:
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, sha256)


def resolve(
    jars: list[Jar], *, cache: Path | None = None, mirror: str | None = None, progress: Callable[[str], None]
) -> list[Path]:
    """The paths of all jars, every one with the hash that the lock tells.

    `cache` is a Maven cache (default: M2_REPO, else the usual folder below the user's); `mirror` the address of a
    Maven repository (default: FIRSTBELL_MAVEN_MIRROR, else the public one).

    Raises:
        EmbeddedUnavailable: a file is neither cached nor to be fetched, or what was fetched has another hash.
    """
    folder = cache or Path(os.environ.get("M2_REPO") or "~/.m2/repository").expanduser()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        right = list(pool.map(lambda jar: _is_right(folder / jar.place, jar), jars))
    missing = [jar for jar, found in zip(jars, right, strict=True) if not found]
    if missing:
        progress(f"fetching {len(missing)} of {len(jars)} files of Apache Kafka")
        _fetch_all(missing, folder, mirror or os.environ.get("FIRSTBELL_MAVEN_MIRROR"))
    return [folder / jar.place for jar in jars]


def _is_right(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _fetch_all(jars: list[Jar], cache: Path, mirror: str | None) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".firstbell-", dir=cache))
    except OSError as error:
        raise EmbeddedUnavailable(f"Apache Kafka cannot be kept in {cache} ({error.strerror})") from error
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        list(pool.map(lambda jar: _fetch(jar, beside, cache, mirror), jars))
    finally:
        # The first failure, or Ctrl-C, calls off what has not begun.
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(beside, ignore_errors=True)


def _fetch(jar: Jar, beside: Path, cache: Path, mirror: str | None) -> None:
    try:
        import requests  # noqa: PLC0415  (comes with jgo)
        from jgo.maven import MavenContext  # noqa: PLC0415  (an optional extra)
    except ImportError as error:
        raise EmbeddedUnavailable("Apache Kafka needs the extra `embedded`, whose jgo is not installed") from error
    remotes = {"mirror": mirror.rstrip("/")} if mirror else None
    context = MavenContext(repo_cache=beside, remote_repos=remotes, timeout=_TIMEOUT_SECONDS)
    try:
        path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        if not _is_right(path, jar):
            raise EmbeddedUnavailable(f"{jar} of Apache Kafka was fetched with another hash than the lock's")
        place = cache / jar.place
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    except (requests.RequestException, RuntimeError, OSError) as error:
        raise EmbeddedUnavailable(f"{jar} of Apache Kafka could not be fetched ({type(error).__name__})") from error
