"""When files are due: regular series never ring before that and always after, irregular ones never."""

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.rhythm import DAY_MS, HOUR_MS, Outlook, State, outlook, state_of
from importer.series import Arrival, Delivery, with_arrival

MONDAY_MS = round(datetime(2026, 3, 2, 3, tzinfo=UTC).timestamp() * 1000)  # at three in the morning
MINUTE_MS = 60_000
USUAL = 1_000


def came(times: Sequence[float], rows: Callable[[int], int] = lambda _: USUAL) -> tuple[Delivery, ...]:
    deliveries: tuple[Delivery, ...] = ()
    for number, time in enumerate(times):
        deliveries = with_arrival(deliveries, Arrival(round(time), 100 * rows(number), rows(number)))
    return deliveries


def rings(times: Sequence[float]) -> list[int]:
    """Which files came so late that the series was told to be missing before they came."""
    deliveries: tuple[Delivery, ...] = ()
    late = []
    for number, time in enumerate(times):
        expected = outlook(deliveries)
        if expected is not None and state_of(expected, round(time) - 1) is State.LATE:
            late.append(number)
        deliveries = with_arrival(deliveries, Arrival(round(time), USUAL, USUAL))
    return late


def days(*which: float) -> list[float]:
    return [MONDAY_MS + day * DAY_MS for day in which]


def shown(expected: Outlook | None) -> tuple[str, str, str]:
    """Rhythm, due, late; the times as weekday, day and hour."""
    assert expected is not None
    due, late = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (expected.due_ms, expected.late_ms))
    return expected.rhythm, f"{due:%a %d %H:%M}", f"{late:%a %d %H:%M}"


# ---- Rhythms people have ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (days(*range(10)), ("daily about 03:00 UTC", "Thu 12 03:00", "Thu 12 06:00")),
        (
            days(*(day for day in range(19) if day % 7 < 5)),
            ("Monday to Friday about 03:00 UTC", "Mon 23 03:00", "Mon 23 06:00"),
        ),
        (days(0, 7, 14, 21), ("Mondays about 03:00 UTC", "Mon 30 03:00", "Tue 31 00:00")),
        (
            days(*(day for day in range(24) if day % 7 in (0, 2, 4))),
            ("Mondays, Wednesdays and Fridays about 03:00 UTC", "Fri 27 03:00", "Fri 27 09:00"),
        ),
        (
            sorted(days(*range(12)) + days(*(day + 7 / 24 for day in range(12)))),
            ("daily about 03:00 and 10:00 UTC", "Sat 14 03:00", "Sat 14 04:30"),
        ),
        (
            [MONDAY_MS + hour * HOUR_MS for hour in range(200)],
            ("every hour", "Tue 10 11:00", "Tue 10 11:30"),
        ),
        ([MONDAY_MS + 6 * hour * HOUR_MS for hour in range(40)], ("every 6 hours", "Thu 12 03:00", "Thu 12 03:45")),
        (days(*range(0, 70, 10)), ("every 10 days", "Mon 11 03:00", "Tue 12 09:00")),
        (
            [datetime(2026, month, 1, 4, tzinfo=UTC).timestamp() * 1000 for month in range(1, 6)],
            ("monthly about the 1st", "Mon 01 04:00", "Tue 02 16:00"),
        ),
        (
            [datetime(2026, month, 1, 4, tzinfo=UTC).timestamp() * 1000 - DAY_MS for month in range(1, 6)],
            ("monthly about its last day", "Sun 31 04:00", "Mon 01 16:00"),
        ),
    ],
    ids=[
        "daily",
        "weekdays",
        "weekly",
        "three days",
        "twice",
        "hourly",
        "6 hours",
        "10 days",
        "monthly",
        "month's end",
    ],
)
def test_a_rhythm_is_known_with_the_time_at_which_the_next_is_due(times: list[float], expected: tuple[str, str, str]):
    """In words for people; late some time after it was due."""
    assert shown(outlook(came(times))) == expected


def test_a_weekend_nobody_has_seen_is_not_expected():
    """From Monday to Thursday it came; whether it comes on a Friday or Saturday, the first week says."""
    assert shown(outlook(came(days(0, 1, 2, 3))))[1] == "Mon 09 03:00"
    assert rings(days(*(day for day in range(60) if day % 7 < 5))) == []


def test_hours_of_a_pause_are_not_expected():
    """Hourly files of the office's hours."""
    times = [MONDAY_MS + (24 * day + hour) * HOUR_MS for day in range(28) if day % 7 < 5 for hour in range(5, 15)]
    assert rings(times) == []
    assert shown(outlook(came(times))) == ("every hour", "Mon 30 08:00", "Mon 30 08:30")


def test_summer_time_rings_nothing():
    """A sender's clock is an hour off ours from one day to the next, forth and back."""
    assert rings(days(*(day + (1 / 24 if 20 <= day < 60 else 0) for day in range(90)))) == []


def test_a_burst_of_files_is_one_delivery():
    """Twenty files within three hours each day, not always as many."""
    choose = random.Random(1)
    times = [
        MONDAY_MS + day * DAY_MS + file * 8 * MINUTE_MS for day in range(20) for file in range(choose.randint(5, 22))
    ]
    assert rings(times) == []
    assert shown(outlook(came(times)))[0] == "daily about 03:00 UTC"


@pytest.mark.parametrize("odd", [[20.5], [20.2, 20.4, 20.6]], ids=["one", "three of a day"])
def test_a_file_out_of_turn_does_not_hide_the_next_that_is_missing(odd: list[float]):
    """A mended file dropped again in the afternoon is not tomorrow's."""
    expected = outlook(came(sorted(days(*range(21), *odd))))
    assert shown(expected)[1:] == ("Mon 23 03:00", "Mon 23 06:00")


@pytest.mark.parametrize(
    "times",
    [
        days(*(day for day in range(40) if day != 20)),
        days(*(day + (5 / 24 if day == 20 else 0) for day in range(40))),
        days(*(day for day in range(40) if not 20 <= day < 26)),
        [MONDAY_MS + hour * HOUR_MS for hour in range(400) if hour != 300],
        days(*(7 * week for week in range(20) if week != 12)),
    ],
    ids=["one missing", "one late", "six days missing", "an hour missing", "a week missing"],
)
def test_what_was_missing_rings_once_and_the_rhythm_goes_on(times: list[float]):
    """It is quiet again when the next file comes, and rings again for the next that does not."""
    (number,) = rings(times)
    assert times[number] - times[number - 1] > 1.15 * (times[1] - times[0])
    assert rings([*times, times[-1] + 2 * (times[1] - times[0])]) == [number, len(times)]


def test_a_series_that_stays_away_is_ended_after_a_while():
    """A week, or three periods: nobody is told for ever of what nobody sends any more."""
    expected = outlook(came(days(*range(10))))
    assert expected is not None
    states = [state_of(expected, expected.late_ms + round(day * DAY_MS)) for day in (-0.01, 0, 6.9, 7)]
    assert states == [State.ON_TIME, State.LATE, State.LATE, State.ENDED]
    weekly = outlook(came(days(0, 7, 14, 21)))
    assert weekly is not None
    assert weekly.ended_ms - weekly.late_ms == 21 * DAY_MS


# ---- Any rhythm ------------------------------------------------------------------------------------------------------


@given(
    st.floats(0.75, 24 * 92),
    st.floats(0, 0.04),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_a_regular_series_never_rings_before_it_is_due_and_always_once_overdue(
    hours: float, jitter: float, seed: int, drifts: bool
):
    """Whatever its period, each file off by up to a twenty-fifth of it, from its slot or from the file before."""
    choose = random.Random(seed)
    period_ms = hours * HOUR_MS
    times, at_ms = [], MONDAY_MS + choose.random() * 7 * DAY_MS
    for number in range(36):
        off_ms = choose.uniform(-jitter, jitter) * period_ms
        at_ms += period_ms + (off_ms if drifts else 0)
        times.append(at_ms + (0 if drifts or not number else off_ms))
    assert rings(times) == []
    expected = outlook(came(times))
    if period_ms >= DAY_MS / 3:  # the pauses of what comes more often are known after a week
        assert expected is not None
    if expected is not None:
        assert times[-1] < expected.due_ms < expected.late_ms < expected.ended_ms
        assert state_of(expected, expected.late_ms) is State.LATE


IRREGULAR: dict[str, Callable[[random.Random, float], float]] = {
    "at random": lambda choose, usual: choose.expovariate(1 / usual),
    "wide": lambda choose, usual: usual * math.exp(choose.gauss(0, 1)),
    "wider": lambda choose, usual: usual * math.exp(choose.gauss(0, 2)),
    "any time": lambda choose, usual: choose.uniform(0, 2 * usual),
    "now and then": lambda choose, usual: usual * choose.choice([1, 3, 7, 20]) * choose.uniform(0.7, 1.3),
}


@pytest.mark.parametrize("kind", IRREGULAR)
def test_an_irregular_series_never_rings(kind: str):
    """A person who uploads now and then is never asked where the next file is."""
    for seed in range(40):
        choose = random.Random(seed)
        usual_ms = choose.choice([1, 3, 9, 72, 216]) * HOUR_MS
        at_ms, times = float(MONDAY_MS), []
        for _ in range(50):
            at_ms += IRREGULAR[kind](choose, usual_ms)
            times.append(at_ms)
        assert rings(times) == [], f"seed {seed}"


@given(st.lists(st.integers(0, 400 * 24 * 60), max_size=40), st.lists(st.integers(0, 10**6), min_size=40, max_size=40))
def test_whatever_came_there_is_an_answer(minutes: list[int], rows: list[int]):
    """It never fails, and what is due comes after what came."""
    times = sorted(MONDAY_MS + minute * MINUTE_MS for minute in minutes)
    expected = outlook(came(times, lambda number: rows[number]))
    if expected is not None:
        assert times[-1] < expected.late_ms
        assert expected.due_ms < expected.late_ms < expected.ended_ms


@pytest.mark.parametrize("count", range(4))
def test_three_files_are_no_series(count: int):
    """One-off files are never missed."""
    assert outlook(came(days(*range(count)))) is None


# ---- Thin ------------------------------------------------------------------------------------------------------------


def thin(rows: Callable[[int], int], count: int = 60, on: Callable[[int], bool] = lambda _: True) -> list[int]:
    """The days on which what came was thin."""
    came_on = [day for day in range(count) if on(day)]
    found = []
    for number, day in enumerate(came_on):
        expected = outlook(came(days(*came_on[: number + 1]), lambda index: rows(came_on[index])))
        if expected is not None and expected.thin_ms is not None:
            found.append(day)
    return found


def noise(day: int) -> int:
    return round(USUAL * random.Random(day).uniform(0.7, 1.4))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (lambda day: 60 if day == 30 else noise(day), [30]),
        (lambda day: 0 if day == 30 else noise(day), [30]),
        (lambda day: 60 if day in (30, 33) else noise(day), [30, 33]),
        (lambda day: 600 if day == 30 else USUAL, []),
        (lambda day: noise(day) * 20 if day == 30 else noise(day), []),
        (lambda day: USUAL if day % 7 < 5 else 90, []),
        (lambda day: 90 if day % 7 > 4 or day == 36 else USUAL, [36]),
        (lambda day: 5 if day == 40 else USUAL if day % 7 < 5 else 90, [40]),
        (lambda day: round(USUAL * 0.98**day), []),
    ],
    ids=[
        "far fewer", "none", "twice", "somewhat fewer", "many more", "small weekends", "a weekday small as weekends",
        "a weekend smaller", "shrinking",
    ],
)  # fmt: skip
def test_far_fewer_rows_than_usual_are_thin(rows: Callable[[int], int], expected: list[int]):
    """Against the median, whatever one of them was; weekends are compared with weekends where that makes it."""
    assert thin(rows) == expected


def test_sizes_that_always_differ_are_seldom_thin():
    """Where half and double are nothing unusual, half rings nothing."""
    sizes = [round(USUAL * math.exp(random.Random(day).gauss(0, 0.7))) for day in range(200)]
    assert len(thin(lambda day: sizes[day], 200)) <= 2


def test_a_weekly_file_is_compared_too():
    """Whose day of the week is always the same."""
    assert thin(lambda day: 50 if day == 70 else USUAL, 90, lambda day: day % 7 == 0) == [70]


def test_files_that_are_missing_of_a_delivery_may_still_come():
    """Five files each night within two hours: with three of them it is thin only when it is late for the others."""
    every = [(day, file) for day in range(12) for file in range(5)]
    times = [MONDAY_MS + day * DAY_MS + file * 30 * MINUTE_MS for day, file in every]
    expected = outlook(came(times[:-4]))
    assert expected is not None
    newest_ms = MONDAY_MS + 11 * DAY_MS
    assert expected.thin_ms == newest_ms + 2 * HOUR_MS + 3 * HOUR_MS
    whole = outlook(came(times))
    assert whole is not None
    assert whole.thin_ms is None


def test_where_rows_are_not_known_bytes_are_compared_of_files_packed_alike():
    """A sender who begins to compress sends a tenth of the bytes, and nothing is wrong."""

    def sent(packed: bool, size: int) -> State:
        deliveries = came(days(*range(14)))
        newest = Arrival(round(days(14)[0]), size, None, packed)
        expected = outlook(with_arrival(deliveries, newest))
        assert expected is not None
        return state_of(expected, newest.at_ms)

    assert (sent(False, 100 * USUAL), sent(False, 5 * USUAL), sent(True, 5 * USUAL)) == (
        State.ON_TIME,
        State.THIN,
        State.ON_TIME,
    )


def test_a_file_that_was_refused_has_come_and_is_not_thin():
    """That it was refused is told otherwise."""
    deliveries = with_arrival(came(days(*range(14))), Arrival(round(days(14)[0]), None, None))
    expected = outlook(deliveries)
    assert expected is not None
    assert (expected.thin_ms, shown(expected)[1]) == (None, "Tue 17 03:00")
