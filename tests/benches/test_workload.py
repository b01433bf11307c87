import json
from datetime import date

from benches.workload import Workload

WORKLOAD = Workload(1000, date(2027, 2, 1))


def test_no_trainer_of_the_peer_is_asked_for_one_hour_twice() -> None:
    payments = [json.loads(WORKLOAD.payment(number)) for number in range(WORKLOAD.purchases)]

    asked = {(WORKLOAD.assigned(p["paymentId"]), p["metadata"]["timeSlot"]) for p in payments}

    assert len(asked) == WORKLOAD.purchases


def test_the_peer_gives_every_payment_a_trainer_of_its_course() -> None:
    courses = {trainer.id: trainer.course for trainer in WORKLOAD.trainers()}

    payments = [json.loads(WORKLOAD.payment(number)) for number in range(WORKLOAD.purchases)]

    assert all(courses[WORKLOAD.assigned(p["paymentId"])] == p["metadata"]["courseId"] for p in payments)


def test_a_pool_has_more_trainers_than_it_asks_for_at_any_hour() -> None:
    payments = [json.loads(WORKLOAD.payment(number)) for number in range(WORKLOAD.purchases)]
    trainers = [trainer.course for trainer in WORKLOAD.trainers()]

    asked = [(p["metadata"]["courseId"], p["metadata"]["timeSlot"]) for p in payments]

    assert all(asked.count(wish) <= trainers.count(wish[0]) for wish in set(asked))
