"""A worker's copy of the trainers misses no change, in whatever order transactions commit."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.directory import Trainer
from storage.engine import transaction
from storage.trainers import TrainerDirectory
from tests.builders import a_student, a_trainer
from tests.world import World

_TOUCH = text("UPDATE trainers SET active = :active, xact = pg_current_xact_id() WHERE trainer_id = :id")


async def test_the_first_look_takes_in_everybody_and_the_next_one_nobody(world: World) -> None:
    await _announce(world, "trn_1", "trn_2", "trn_3")
    directory = TrainerDirectory()

    first = await _refresh(directory, world.engine)
    second = await _refresh(directory, world.engine)

    assert (first, second) == (True, False)
    assert _known(directory) == {"trn_1", "trn_2", "trn_3"}


async def test_a_change_that_commits_late_is_not_missed(world: World, engine: AsyncEngine) -> None:
    await _announce(world, "trn_1", "trn_2")
    directory = TrainerDirectory()
    await _refresh(directory, engine)

    async with transaction(engine) as slow:
        await slow.execute(_TOUCH, {"id": "trn_1", "active": False})
        async with transaction(engine) as quick:
            await quick.execute(_TOUCH, {"id": "trn_2", "active": False})
        saw_the_quick_one = await _refresh(directory, engine)
        meanwhile = _active(directory)
    saw_the_slow_one = await _refresh(directory, engine)

    assert saw_the_quick_one
    assert meanwhile == {"trn_1"}
    assert saw_the_slow_one
    assert _active(directory) == set()


async def test_looks_while_a_slow_transaction_runs_do_not_move_past_it(world: World, engine: AsyncEngine) -> None:
    await _announce(world, "trn_1")
    directory = TrainerDirectory()
    async with transaction(engine) as slow:
        await slow.execute(_TOUCH, {"id": "trn_1", "active": False})
        for number in range(5):
            await _announce(world, f"trn_quick_{number}")
            await _refresh(directory, engine)
        before = _active(directory)

    await _refresh(directory, engine)

    assert "trn_1" in before
    assert _active(directory) == {f"trn_quick_{number}" for number in range(5)}


async def test_a_change_that_rolled_back_is_never_seen(world: World, engine: AsyncEngine) -> None:
    await _announce(world, "trn_1")
    directory = TrainerDirectory()
    async with engine.connect() as doomed:
        await doomed.execute(_TOUCH, {"id": "trn_1", "active": False})
        await _refresh(directory, engine)
        await doomed.rollback()

    await _refresh(directory, engine)

    assert _active(directory) == {"trn_1"}


async def test_a_look_within_a_transaction_that_began_earlier_sees_what_committed_since(
    world: World, engine: AsyncEngine
) -> None:
    await _announce(world, "trn_1")
    directory = TrainerDirectory()

    async with transaction(engine) as db:
        await directory.refresh(db)
        await _announce(world, "trn_2")
        changed = await directory.refresh(db)

    assert changed
    assert _known(directory) == {"trn_1", "trn_2"}


async def test_a_trainer_who_was_removed_is_no_longer_active(world: World) -> None:
    await _announce(world, "trn_1")
    directory = TrainerDirectory()
    await _refresh(directory, world.engine)
    world.send("trainers.changed", None, key=b"trn_1")
    await world.settle(names=["directory"])

    await _refresh(directory, world.engine)

    assert _active(directory) == set()


async def test_writers_and_a_reader_at_once_end_with_the_same_trainers(world: World, engine: AsyncEngine) -> None:
    await _announce(world, *(f"trn_{number}" for number in range(4)))
    directory = TrainerDirectory()
    done = asyncio.Event()

    async def write(trainer: str) -> None:
        for turn in range(15):
            async with transaction(engine) as db:
                await db.execute(_TOUCH, {"id": trainer, "active": turn % 2 == 1})
                await db.execute(text("SELECT 1"))

    async def read() -> None:
        while not done.is_set():
            await _refresh(directory, engine)

    reader = asyncio.create_task(read())
    await asyncio.gather(*(write(f"trn_{number}") for number in range(4)))
    done.set()
    await reader
    await _refresh(directory, engine)

    assert _active(directory) == set()


async def test_a_profile_that_changes_is_no_change_of_trainers(world: World) -> None:
    await _announce(world, "trn_1")
    directory = TrainerDirectory()
    await _refresh(directory, world.engine)
    world.send("students.changed", a_student("stu_1"))
    await world.settle(names=["directory"])

    changed = await _refresh(directory, world.engine)

    assert not changed


async def _announce(world: World, *trainer_ids: str) -> None:
    world.send("trainers.changed", *(a_trainer(trainer_id) for trainer_id in trainer_ids))
    await world.settle(names=["directory"])


async def _refresh(directory: TrainerDirectory, engine: AsyncEngine) -> bool:
    async with transaction(engine) as db:
        return await directory.refresh(db)


def _known(directory: TrainerDirectory) -> set[str]:
    return {trainer.id for trainer in _trainers(directory)}


def _active(directory: TrainerDirectory) -> set[str]:
    return {trainer.id for trainer in _trainers(directory) if trainer.active}


def _trainers(directory: TrainerDirectory) -> list[Trainer]:
    return [trainer for number in range(1, 50) if (trainer := directory.trainers.get(number))]
