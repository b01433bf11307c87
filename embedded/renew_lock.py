"""Writes `kafka.lock` anew: `python -m embedded.renew_lock 4.4.0`. Needs Maven, which alone resolves the list right.

The log backend that Kafka's own list leaves out is added in the version of its log4j-core.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from embedded.jars import LOCK

_POM = """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>lock</groupId><artifactId>lock</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_KAFKA = ("org.apache.kafka", "kafka_2.13")
_LOG4J = "org.apache.logging.log4j"


def resolve(*wanted: tuple[str, str, str]) -> dict[tuple[str, str, str], str]:
    """Coordinates (group, artifact, version) of the jars that Maven resolves, with their SHA-256."""
    with tempfile.TemporaryDirectory() as folder:
        pom, out = Path(folder, "pom.xml"), Path(folder, "jars")
        pom.write_text(_POM.format(dependencies="".join(_DEPENDENCY.format(*one) for one in wanted)), encoding="utf-8")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true"]
        mvn = ["mvn", "-q", "-B", "-f", str(pom), *goal, f"-DoutputDirectory={out}"]
        subprocess.run(mvn, check=True)  # noqa: S603  (Maven is found on the path)
        return {_coordinates(jar.relative_to(out)): _sha256(jar) for jar in out.rglob("*.jar")}


def _coordinates(jar: Path) -> tuple[str, str, str]:
    *group, artifact, version, name = jar.parts
    if name != f"{artifact}-{version}.jar":
        raise ValueError(name)
    return ".".join(group), artifact, version


def _sha256(jar: Path) -> str:
    with jar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(version: str) -> None:
    """Resolve Kafka, then Kafka with the log backend, and write the lock."""
    core = next(v for group, artifact, v in resolve((*_KAFKA, version)) if (group, artifact) == (_LOG4J, "log4j-core"))
    jars = resolve((*_KAFKA, version), (_LOG4J, "log4j-slf4j-impl", core))
    lines = [f"{':'.join(coordinates)} {sha256}\n" for coordinates, sha256 in sorted(jars.items())]
    LOCK.write_text(f"# Written by renew_lock.py {version}.\n{''.join(lines)}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
