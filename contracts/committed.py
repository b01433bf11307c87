"""The schemas and the AsyncAPI document as files of the repository: what this release has promised."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.json_schemas import Schema

_HERE = Path(__file__).parent
ASYNCAPI = _HERE / "asyncapi.json"
SCHEMAS = _HERE / "schemas"
PROMISES = _HERE / "promises.json"

_SUFFIX = ".v1.json"


def schema_file(topic: str) -> Path:
    """The file of a topic's schema."""
    return SCHEMAS / f"{topic}{_SUFFIX}"


def committed() -> dict[str, Schema]:
    """The schemas as they are committed, by topic."""
    return {
        path.name.removesuffix(_SUFFIX): json.loads(path.read_text("utf-8"))
        for path in sorted(SCHEMAS.glob(f"*{_SUFFIX}"))
    }


def committed_promises() -> dict[str, Any]:
    """What else was promised, as it is committed; nothing where there is no such file yet."""
    found: dict[str, Any] = json.loads(PROMISES.read_text("utf-8")) if PROMISES.exists() else {}
    return found


def as_text(document: Mapping[str, Any]) -> str:
    """A document as it stands in its file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(documents: Mapping[Path, Mapping[str, Any]]) -> list[Path]:
    """Write the files that differ, and return them."""
    texts = {path: as_text(document) for path, document in documents.items()}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[path], "utf-8")
    return stale
