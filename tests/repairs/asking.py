"""Commands as admins publish them, and their answers."""

from typing import Any
from uuid import uuid4

from contracts.repairs import RepairCompleted
from tests.world import World


def a_command(command: str, **fields: Any) -> dict[str, Any]:
    return {
        "command": command,
        "commandId": str(uuid4()),
        "requestedBy": "asha@example.org",
        "reason": "agreed by phone",
        **fields,
    }


async def repaired(world: World, command: dict[str, Any]) -> RepairCompleted:
    """Publish one command, let everything settle, and return its answer."""
    world.send("repairs.requested", command)
    await world.settle()
    return answer_to(world, command["commandId"])


def answer_to(world: World, command_id: str) -> RepairCompleted:
    (answer,) = [a for a in world.published(RepairCompleted) if a.command_id == command_id]
    return answer
