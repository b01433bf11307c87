"""The summary of a demo: the figures for programs, the page for people."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console

from traffic.progress import Progress, progress_display
from traffic.summary import Summary, show
from traffic.watching import Journey, Passed, Result

PAID = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
FIRST = datetime(2026, 12, 1, 10, 30, tzinfo=UTC)
SUMMARY = Summary(
    purchases=10,
    duplicates_published=1,
    students=8,
    trainers=20,
    result=Result(9, {"no_trainer_available": 1}, {"insufficient_coins": 2}, 180, 21.5, 1_340.0, 4.0),
    offenders={},
    example=Journey(
        payment_id="pay_x_0001",
        student_id="stu_x_0001",
        course_id="crs_yoga",
        trainer_id="trn_x_kavya_rao",
        zone="Asia/Kolkata",
        sessions=30,
        coins=120,
        item_id="itm_x_0001",
        paid_at=PAID,
        enrolled_at=PAID + timedelta(milliseconds=5),
        allocated_at=PAID + timedelta(milliseconds=12),
        scheduled_at=PAID + timedelta(milliseconds=21),
        starts=((FIRST, FIRST + timedelta(hours=1)),),
    ),
)
ADDRESSES = {"kafka": "127.0.0.1:9092", "database": "postgresql:///x?host=/tmp/x", "http": "http://127.0.0.1:8080"}


def shown(summary: Summary) -> str:
    console = Console(width=100, force_terminal=False)
    with console.capture() as page:
        show(summary, console, ADDRESSES)
    return page.get()


def test_the_figures_have_the_names_that_programs_read() -> None:
    figures = SUMMARY.as_json()

    assert figures == {
        "purchases": 10,
        "scheduled": 9,
        "parked": 1,
        "sessions": 180,
        "duplicates_published": 1,
        "p50_ms": 21.5,
        "p99_ms": 1340.0,
        "purchases_per_second": 2.5,
        "invariant_offenders": 0,
    }


def test_offenders_are_counted_over_all_invariants() -> None:
    broken = replace(SUMMARY, offenders={"trainer_booked_twice": ["trn_1", "trn_2"], "state_wrong": ["pay_1"]})

    page = shown(broken)

    assert broken.as_json()["invariant_offenders"] == 3
    assert "trainer_booked_twice: 2" in page


def test_the_page_tells_times_on_the_students_clock() -> None:
    page = shown(SUMMARY)

    assert "15:00:00" in page
    assert "Tue 01 Dec 2026, 16:00 to 17:00" in page
    assert "+ 21 ms" in page


def test_the_page_tells_why_purchases_are_parked_and_where_to_look() -> None:
    page = shown(SUMMARY)

    assert "1 no_trainer_available" in page
    assert "2 insufficient_coins" in page
    assert "curl http://127.0.0.1:8080/metrics" in page
    assert "WHERE payment_id = 'pay_x_0001'" in page


def test_a_run_without_a_scheduled_purchase_has_a_page_too() -> None:
    nothing = replace(SUMMARY, example=None, result=Result(0, {"unexpected_error": 10}, {}, 0, None, None, 0.0))

    page = shown(nothing)

    assert "10 unexpected_error" in page
    assert nothing.as_json()["purchases_per_second"] == 0


def test_progress_is_plain_lines_where_there_is_no_terminal() -> None:
    console = Console(force_terminal=False, width=200)

    with console.capture() as lines, progress_display(console) as tell:
        tell(Progress("on their way", 10, 3, Passed(3, 2, 1)))
        tell(Progress("on their way", 10, 4, Passed(4, 3, 2)))

    assert lines.get() == "on their way: 3 published, 3 of 10 enrolled, 2 allocated, 1 scheduled, 0 parked\n"


def test_progress_is_bars_on_a_terminal() -> None:
    console = Console(force_terminal=True, width=100)

    with console.capture() as screen, progress_display(console) as tell:
        tell(Progress("on their way", 10, 10, Passed(10, 9, 9, 1, 10)))

    assert "9/10" in screen.get()
    assert "1 parked" in screen.get()
