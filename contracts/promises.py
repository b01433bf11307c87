"""What a contract promises beside its schemas: keys, identities, how a topic is kept, limits, checks written in Python.

A schema shows none of it, so it stands in a file of its own, which is compared like the schemas.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import TypeAdapter

from contracts import base, decode
from contracts.base import Event
from contracts.cloudevents import SOURCE
from contracts.topics import TOPICS, TopicSpec
from errors import codes

Promises = dict[str, Any]

# What may change in one direction only, and in which.
_MAY_GROW = frozenset({"maxBytes", "maxDepth"})


def promises() -> Promises:
    """All of them, as they are compared and committed."""
    return {
        "namespace": str(base.NAMESPACE),
        "source": SOURCE.decode(),
        "maxBytes": decode.MAX_BYTES,
        "maxDepth": decode.MAX_DEPTH,
        "instants": f"{base.EARLIEST.isoformat()} to {base.LATEST.isoformat()}",
        "reasonCodes": sorted(codes()),
        "topics": {topic: _of_topic(spec) for topic, spec in TOPICS.items()},
    }


def broken_promises(old: Promises, new: Promises, schemas: Mapping[str, Any]) -> list[str]:
    """A sentence for each promise that does not hold any more; `schemas` are those that are committed."""
    found = [
        f"everywhere: {name} is {new[name]} now, and was {was}"
        for name, was in old.items()
        if name not in {"topics", "reasonCodes"} and new[name] != was and not (name in _MAY_GROW and new[name] > was)
    ]
    gone = sorted(set(old.get("reasonCodes", ())) - set(new["reasonCodes"]))
    found += [f"fulfilment.parked: the reason code {code} is gone, where readers rely on it" for code in gone]
    for topic, was in old.get("topics", {}).items():
        if topic not in schemas:
            found.append(f"{topic}: its committed schema is gone, so nobody can tell what would break")
        if topic in new["topics"]:
            known = json.dumps(schemas.get(topic, {}))
            found += (f"{topic}: {sentence}" for sentence in _broken(was, new["topics"][topic], known))
    return found


def _broken(was: Promises, now: Promises, known: str) -> Iterator[str]:
    for name in ("writtenBy", "key", "subject", "identity", "time", "compacted"):
        if now[name] != was[name]:
            yield f"{name} is {now[name]} now, and was {was[name]}"
    if was["tombstones"] and not now["tombstones"]:
        yield "a null value means nothing now, where producers delete by it"
    for check in sorted(set(now["checks"]) - set(was["checks"])):
        # A field that nobody knew may be judged as we like.
        field = check.partition(":")[0]
        if field != "the value" and f'"{field}"' not in known:
            continue
        yield f"{check} is a check in Python that no schema shows; what it refuses was accepted before"


def _of_topic(spec: TopicSpec) -> Promises:
    contract = spec.contract
    adapter = isinstance(contract, TypeAdapter)
    event: type[Event] = get_args(get_args(contract._type)[0])[0] if adapter else contract  # type: ignore[union-attr, assignment]  # noqa: SLF001
    core = contract.core_schema if isinstance(contract, TypeAdapter) else contract.__pydantic_core_schema__
    return {
        "writtenBy": "others" if spec.outside else "us",
        "key": event.KEY,
        "subject": event.SUBJECT,
        "identity": list(event.IDENTITY),
        "time": event.TIME,
        "compacted": spec.compacted,
        "tombstones": spec.tombstones,
        "checks": sorted(set(_checks(core, ""))),
    }


def _checks(part: Any, field: str) -> Iterator[str]:
    """`timezone: _known_zone`, for every function of Python that may refuse something."""
    if isinstance(part, Mapping):
        kind = part.get("type")
        if isinstance(kind, str) and kind.startswith("function-"):
            function = part["function"]["function"]
            # Those only put one value in the place of another, and the schemas know them.
            if function.__module__ != base.__name__:
                yield f"{field or 'the value'}: {getattr(function, '__qualname__', repr(function))}"
        for name, inner in part.items():
            if kind == "model-fields" and name == "fields":
                for own, schema in inner.items():
                    yield from _checks(schema, str(schema.get("validation_alias", own)))
            elif name != "metadata":
                yield from _checks(inner, field)
    elif isinstance(part, list | tuple):
        for inner in part:
            yield from _checks(inner, field)
