"""The contracts of this release as documents, each with the file it is committed in."""

from pathlib import Path
from typing import Any

from actors.consumers import group_of
from actors.topics import topic_config
from contracts.asyncapi import document
from contracts.committed import ASYNCAPI, PROMISES, committed, committed_promises, schema_file
from contracts.compatibility import broken
from contracts.json_schemas import schemas
from contracts.promises import broken_promises, promises
from contracts.topics import TOPICS
from roster import actors_of
from settings import Settings


def documents() -> dict[Path, dict[str, Any]]:
    """Every schema and the AsyncAPI document, by file; by the defaults of the settings, whatever is set here."""
    made = {schema_file(topic): schema for topic, schema in schemas().items()}
    return {**made, PROMISES: promises(), ASYNCAPI: asyncapi()}


def breaks() -> list[str]:
    """A sentence for each thing that this release would break of what is committed."""
    kept, was = committed(), committed_promises()
    # By who wrote the topic when it was promised: a change of that is told of its own.
    writers = {topic: of["writtenBy"] == "others" for topic, of in was.get("topics", {}).items()}
    outside = {topic: spec.outside for topic, spec in TOPICS.items()} | writers
    return broken(kept, schemas(), outside) + broken_promises(was, promises(), kept)


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI document of a deployment with the default settings."""
    defaults = Settings.model_construct()
    readers: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    for actor in actors_of(defaults):
        for topic in actor.topics:
            readers[topic].append(group_of(actor.name, defaults))
    return document(readers, {topic: topic_config(spec, defaults) for topic, spec in TOPICS.items()})
