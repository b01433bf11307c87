"""The main job on the real broker, with what goes wrong in production: duplicates, disorder, death, poison."""

import random
from functools import partial
from operator import le, lt
from typing import Any

import pytest

from settings import Settings
from tests.builders import a_cart_change, a_credit, a_payment, a_student, a_trainer
from tests.e2e.business import figures_of
from tests.e2e.deployment import Deployment, Message, message
from traffic.disorder import POISON

TIERS = (10, 20, 30)


def a_world(purchases: int, *, own_courses: bool) -> tuple[list[Message], list[Message]]:
    """Feeds, and payments. With courses of their own the purchases do not compete for trainers."""
    feeds: list[Message] = []
    payments: list[Message] = []
    for n in range(purchases):
        course = f"crs_{n}" if own_courses else "crs_yoga"
        payment = a_payment(
            paymentId=f"pay_{n}",
            studentId=f"stu_{n}",
            courseId=course,
            purchaseTier=TIERS[n % 3],
            coinsRedeemed=50 if n % 4 == 0 else None,
            cartItemId=f"itm_{n}" if n % 2 else None,
            timeSlot=f"{7 + n % 12}:00",
        )
        feeds.append(message("students.changed", f"stu_{n}", a_student(f"stu_{n}")))
        feeds.append(message("carts.changed", f"itm_{n}", a_cart_change(f"stu_{n}", f"itm_{n}", courseId=course)))
        if n % 4 == 0:
            feeds.append(message("coins.credited", f"crd_{n}", a_credit(f"stu_{n}", 100, creditId=f"crd_{n}")))
        if own_courses or n % 30 == 0:
            feeds.append(message("trainers.changed", f"trn_{n}", a_trainer(f"trn_{n}", courses=[course])))
        payments.append(message("payments.succeeded", f"pay_{n}", payment))
    return feeds, payments


async def directory_done(deployment: Deployment, feeds: list[Message]) -> None:
    for table, topic in {
        "students WHERE changed_at IS NOT NULL": "students.changed",  # a credit makes a row, too
        "trainers": "trainers.changed",
        "cart_changes": "carts.changed",
        "coin_ledger": "coins.credited",
    }.items():
        expected = len({key for t, key, _ in feeds if t == topic})
        await deployment.until(f"SELECT count(*) FROM {table}", partial(le, expected))  # noqa: S608


ROWS = """
    SELECT p.payment_id, p.state, s.trainer_id, s.number, s.starts_at, s.ends_at, s.version,
           s.latitude, s.longitude, l.coins
      FROM purchases p
      LEFT JOIN sessions s USING (payment_id)
      LEFT JOIN coin_ledger l ON l.kind = 'redemption' AND l.reference = p.payment_id
     ORDER BY p.payment_id, s.number
"""


async def everything(deployment: Deployment) -> tuple[list[Any], list[Any], list[Any]]:
    return (
        await deployment.rows(ROWS),
        await deployment.rows("SELECT item_id FROM cart_items ORDER BY 1"),
        await deployment.rows("SELECT id, reason, status FROM parked ORDER BY 1"),
    )


@pytest.mark.timeout(180)
async def test_everything_twice_and_shuffled_gives_the_rows_of_once_and_in_order(
    deployment: Deployment, second_deployment: Deployment
) -> None:
    feeds, payments = a_world(1000, own_courses=True)
    disorder = random.Random(7)
    for target, messages in (
        (deployment, payments),
        (second_deployment, disorder.sample(payments * 2, 2 * len(payments))),
    ):
        process = await target.start()
        await target.publish(feeds if target is deployment else disorder.sample(feeds * 2, 2 * len(feeds)))
        await directory_done(target, feeds)
        await target.publish(messages)
        await target.settled(1000)
        await target.until("SELECT count(*) FROM coin_ledger WHERE kind = 'redemption'", lambda n: n == 250)
        await target.until("SELECT count(*) FROM cart_clearances", lambda n: n == 1000)
        assert await target.terminate(process) == 0

    once, twice = await everything(deployment), await everything(second_deployment)

    assert len(once[0]) == sum(TIERS[n % 3] for n in range(1000))
    assert twice == once
    assert (await second_deployment.run("check"))[0] == 0


async def test_where_purchases_compete_the_totals_are_the_same_in_any_order(
    deployment: Deployment, second_deployment: Deployment
) -> None:
    feeds, payments = a_world(300, own_courses=False)
    disorder = random.Random(11)
    totals = []
    for target, messages in ((deployment, payments), (second_deployment, disorder.sample(payments * 2, 600))):
        process = await target.start()
        await target.publish(feeds)
        await directory_done(target, feeds)
        await target.publish(messages)
        await target.settled(300)
        # Beside the way to the sessions, coins and carts take their own time.
        await target.until("SELECT count(*) FROM coin_ledger WHERE kind = 'redemption'", lambda n: n == 75)
        await target.until("SELECT count(*) FROM cart_clearances", lambda n: n == 300)
        totals.append(
            await target.rows(
                "SELECT (SELECT count(*) FROM purchases), (SELECT count(*) FROM enrollments),"
                " (SELECT sum(coins) FROM coin_ledger), (SELECT count(*) FROM cart_items)"
            )
        )
        refused = await target.rows("SELECT count(*) FROM parked WHERE reason = 'no_trainer_available'")
        states = dict(await target.rows("SELECT state, count(*) FROM purchases GROUP BY state"))
        expected = await target.rows(
            "SELECT sum((payload #>> '{metadata,purchaseTier}')::int) FROM purchases WHERE state = 'scheduled'"
        )
        assert refused[0][0] == states["parked"] > 0
        assert states["parked"] + states["scheduled"] == 300
        assert await target.rows("SELECT count(*) FROM sessions") == expected
        assert (await target.run("check"))[0] == 0
        assert await target.terminate(process) == 0

    assert totals[0] == totals[1]


@pytest.mark.timeout(180)
async def test_killed_in_the_middle_of_a_thousand_purchases_nothing_is_lost_and_nothing_twice(
    deployment: Deployment,
) -> None:
    feeds, payments = a_world(1000, own_courses=True)
    process = await deployment.start()
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)

    await deployment.publish(payments)
    for share in (0, 150, 400):
        await deployment.until("SELECT count(*) FROM allocations", partial(lt, share))
        await deployment.kill(process)
        process = await deployment.start()
    await deployment.settled(1000)

    assert await deployment.rows("SELECT count(*) FROM sessions") == [(sum(TIERS[n % 3] for n in range(1000)),)]
    assert await deployment.rows("SELECT count(*) FROM parked") == [(0,)]
    await deployment.all_read()
    counted, true = await figures_of(deployment)
    assert counted == true
    assert (await deployment.run("check"))[0] == 0
    assert await deployment.terminate(process) == 0


async def test_each_kind_of_poison_is_parked_once_and_its_neighbours_go_through(deployment: Deployment) -> None:
    feeds, payments = a_world(40, own_courses=True)
    poison: list[Message] = [("payments.succeeded", f"bad_{name}", value) for name, value in POISON.items()]
    mixed = random.Random(3).sample([*payments, *poison, *poison], len(payments) + 2 * len(poison))
    await deployment.start()
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)

    await deployment.publish(mixed)
    await deployment.settled(40)
    await deployment.until("SELECT count(*) FROM parked", lambda n: n == len(poison))

    parked = await deployment.rows("SELECT convert_from(key, 'UTF8'), payload FROM parked ORDER BY 1")
    assert parked == sorted((key, value) for _, key, value in poison)
    assert await deployment.rows("SELECT DISTINCT state FROM purchases") == [("scheduled",)]
    assert (await deployment.run("check"))[0] == 0


async def test_two_processes_share_the_work_and_one_takes_over_when_the_other_dies(deployment: Deployment) -> None:
    feeds, payments = a_world(200, own_courses=True)
    first = await deployment.start()
    await deployment.start()
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)

    await deployment.publish(payments[:100])
    await deployment.until("SELECT count(*) FROM allocations", lambda n: n > 0)
    await deployment.kill(first)
    await deployment.publish(payments[100:])
    await deployment.settled(200)

    assert await deployment.rows("SELECT count(*) FROM sessions") == [(sum(TIERS[n % 3] for n in range(200)),)]
    assert (await deployment.run("check"))[0] == 0


async def test_a_part_of_the_actors_does_its_part_alone(deployment: Deployment) -> None:
    feeds, payments = a_world(5, own_courses=True)
    await deployment.start("--actors", "directory,enrollment,cart")
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)

    await deployment.publish(payments)
    await deployment.until("SELECT count(*) FROM cart_clearances", lambda n: n == 5)

    assert await deployment.rows("SELECT DISTINCT state FROM purchases") == [("enrolled",)]
    await deployment.start("--actors", "coins,allocation,sessions")
    await deployment.settled(5)
    assert (await deployment.run("check"))[0] == 0


async def test_one_correlation_id_goes_through_all_hops(deployment: Deployment) -> None:
    feeds, payments = a_world(1, own_courses=True)
    process = await deployment.start()
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)

    await deployment.publish(payments)
    await deployment.settled(1)
    await deployment.terminate(process)

    lines = [line for line in deployment.log_lines() if line["event"] == "batch done" and line["actor"] != "directory"]
    assert {line["actor"] for line in lines} == {"enrollment", "cart", "coins", "allocation", "sessions"}
    assert len({line["correlation_ids"][0] for line in lines}) == 1


@pytest.fixture
async def second_deployment(kafka: str, second_database_url: str, tmp_path: Any) -> Any:
    home = tmp_path / "second"
    home.mkdir()
    settings = Settings(topic_prefix=f"{tmp_path.name}-{random.randrange(10**9)}.", home=home, port=0, partitions=3)
    from service import Addresses  # noqa: PLC0415

    deployment = Deployment(settings, Addresses(kafka, second_database_url))
    yield deployment
    await deployment.close()
