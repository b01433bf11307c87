"""Carts: what was bought leaves the cart, whatever comes first, and nothing else does."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.carts import CartCleared
from tests.builders import a_cart_change, a_payment
from tests.world import World

PAID = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
Message = tuple[str, dict[str, Any] | None, bytes | None, datetime | None]


async def test_the_item_that_the_purchase_names_is_cleared_and_no_other(world: World) -> None:
    by_cart_item = _paid("stu_a", cartItemId="itm_a1", processingItemId="itm_a2")
    by_processing_item = _paid("stu_b", processingItemId="itm_b1")
    by_processing_too = _paid("stu_c", cartItemId="", processingItemId="itm_c1")
    by_course = _paid("stu_d")
    by_course["metadata"] |= {"cartItemId": None, "processingItemId": ""}
    for letter in "abcd":
        for number in (1, 2):
            world.send("carts.changed", a_cart_change(f"stu_{letter}", f"itm_{letter}{number}", changedAt=_at(-5)))
        world.send("carts.changed", a_cart_change(f"stu_{letter}", f"itm_{letter}3", courseId="crs_chess"))

    world.send("payments.succeeded", by_cart_item, by_processing_item, by_processing_too, by_course)
    await world.settle()

    kept = {"itm_a2", "itm_a3", "itm_b2", "itm_b3", "itm_c2", "itm_c3", "itm_d3"}
    assert await _items(world) == kept
    cleared = {event.payment_id: event.item_id for event in world.published(CartCleared)}
    assert cleared == {
        by_cart_item["paymentId"]: "itm_a1",
        by_processing_item["paymentId"]: "itm_b1",
        by_processing_too["paymentId"]: "itm_c1",
        by_course["paymentId"]: None,
    }


async def test_without_an_item_the_course_is_cleared_up_to_the_time_of_the_payment(world: World) -> None:
    world.send(
        "carts.changed",
        a_cart_change("stu_a", "itm_before", changedAt=_at(-60)),
        a_cart_change("stu_a", "itm_at", changedAt=_at(0)),
        a_cart_change("stu_a", "itm_after", changedAt=(PAID + timedelta(milliseconds=1)).isoformat()),
        a_cart_change("stu_b", "itm_of_another", changedAt=_at(-60)),
        a_cart_change("stu_a", "itm_other_course", courseId="crs_chess", changedAt=_at(-60)),
    )

    world.send("payments.succeeded", _paid("stu_a"))
    await world.settle()

    assert await _items(world) == {"itm_after", "itm_of_another", "itm_other_course"}


@pytest.mark.parametrize("batch", [7, 1000])
async def test_every_order_of_arrival_shows_the_same_cart(world: World, batch: int) -> None:
    stories: list[tuple[str, bool]] = []
    arrivals: list[list[Message]] = []
    for name, (messages, shown) in _STORIES.items():
        for order, permuted in enumerate(itertools.permutations(messages)):
            student = f"stu_{name}_{order}"
            stories.append((f"itm_{name}_{order}", shown))
            arrivals.append([_message(message, student, f"itm_{name}_{order}") for message in permuted])

    for step in range(max(map(len, arrivals))):
        for arrival in arrivals:
            for topic, value, key, at in arrival[step : step + 1]:
                world.send(topic, value, key=key, at=at)
        await world.settle(batch=batch)

    assert await _items(world) == {item for item, shown in stories if shown}


async def test_the_item_of_another_student_is_never_touched(world: World) -> None:
    before, after = _paid("stu_a", cartItemId="itm_b1"), _paid("stu_a", processingItemId="itm_b2")
    world.send("carts.changed", a_cart_change("stu_b", "itm_b1", changedAt=_at(-5)))
    world.send("payments.succeeded", before, after)
    await world.settle()

    world.send("carts.changed", a_cart_change("stu_b", "itm_b2", changedAt=_at(-5)))
    await world.settle()

    assert await _items(world) == {"itm_b1", "itm_b2"}


async def test_a_cleared_item_stays_cleared_for_good_however_often_it_is_added(world: World) -> None:
    world.send("payments.succeeded", _paid("stu_a", cartItemId="itm_1"))
    await world.settle()

    for minutes in (-90, -5, 0, 5, 50):
        world.send("carts.changed", a_cart_change("stu_a", "itm_1", changedAt=_at(minutes)))
        await world.settle()
        assert await _items(world) == set()


async def test_a_cart_that_is_cleared_twice_tells_the_same_and_a_purchase_without_a_cart_tells_it_too(
    world: World,
) -> None:
    payment, other = _paid("stu_a", cartItemId="itm_never_added"), _paid("stu_b")
    world.send("payments.succeeded", payment, other)
    await world.settle()
    told = world.published(CartCleared)

    world.rewind()
    await world.settle()

    assert world.published(CartCleared) == told
    assert [event.payment_id for event in told] == [payment["paymentId"], other["paymentId"]]
    assert await world.count("cart_clearances") == 2


def _at(minutes: float) -> str:
    """An instant so many minutes after the payment."""
    return (PAID + timedelta(minutes=minutes)).isoformat()


def _paid(student_id: str, **changes: Any) -> dict[str, Any]:
    return a_payment(studentId=student_id, succeededAt=PAID.isoformat(), **changes)


def _message(message: tuple[str, float, dict[str, Any]], student: str, item: str) -> Message:
    kind, minutes, more = message
    if kind == "tombstone":
        return "carts.changed", None, item.encode(), PAID + timedelta(minutes=minutes)
    if kind == "paid":
        named = dict.fromkeys(more, item)
        return "payments.succeeded", a_payment(studentId=student, succeededAt=_at(minutes), **named), None, None
    change = a_cart_change(student, item, action=kind, changedAt=_at(minutes), **more)
    return "carts.changed", change, None, None


_ITEM = {"cartItemId": True}
_STORIES: dict[str, tuple[list[tuple[str, float, dict[str, Any]]], bool]] = {
    "bought": ([("added", -9, {}), ("paid", 0, {})], False),
    "bought-by-item": ([("added", -9, {}), ("paid", 0, _ITEM)], False),
    "added-after": ([("added", 9, {}), ("paid", 0, {})], True),
    "added-after-by-item": ([("added", 9, {}), ("paid", 0, _ITEM)], False),
    "removed": ([("added", -9, {}), ("removed", -4, {}), ("paid", 0, {})], False),
    "removed-after": ([("added", -9, {}), ("removed", 9, {}), ("paid", 0, {})], False),
    "readded": ([("added", -9, {}), ("removed", -4, {}), ("added", -2, {}), ("paid", 0, {})], False),
    "readded-after": ([("added", -9, {}), ("removed", -4, {}), ("added", 3, {}), ("paid", 0, {})], True),
    "readded-by-item": ([("added", -9, {}), ("removed", -4, {}), ("added", 3, {}), ("paid", 0, _ITEM)], False),
    "other-course": ([("added", -9, {"courseId": "crs_chess"}), ("paid", 0, {})], True),
    "other-course-by-item": ([("added", -9, {"courseId": "crs_chess"}), ("paid", 0, _ITEM)], False),
    "not-bought": ([("added", -9, {}), ("removed", -12, {})], True),
    "tie": ([("added", -9, {}), ("removed", -9, {})], False),
    "deleted": ([("added", -9, {}), ("tombstone", -4, {}), ("paid", -20, {})], False),
    "deleted-before": ([("added", -9, {}), ("tombstone", -14, {}), ("paid", -20, {})], True),
    "two-payments": ([("added", -9, {}), ("paid", -20, {}), ("paid", 0, {})], False),
    "moved-course": ([("added", -9, {}), ("added", -4, {"courseId": "crs_chess"}), ("paid", 0, {})], True),
}
"""What happens to one item, minutes from the payment, and whether it is still shown in the end."""


async def _items(world: World) -> set[str]:
    return {row["item_id"] for row in await world.rows("SELECT item_id FROM cart_items")}
