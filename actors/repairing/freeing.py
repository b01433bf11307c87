"""The news of time that a purchase has given back: for whoever waits for its student or for one of its trainers."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import News
from storage import targets
from storage.allocations import Order


async def freed_news(db: AsyncConnection, order: Order, at: datetime) -> News:
    """News for every course of the trainers who had this purchase, read from the bookings: memory may be cold."""
    courses = await targets.freed(db, order.payment_id)
    return News(frozenset([order.student_id]), dict.fromkeys(courses, at)) if courses else News()
