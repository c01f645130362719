"""Rhythm: when the next files of a series are due, by how they came until now; whether the newest are too few (pure).

Rule: three rhythms are looked for, and the first that explains what was seen is taken.

    so and so often   the time between two deliveries is always about the same: every 40 minutes, 6 hours, 10 days
    by the day        always about the same time of day, on the same days of the week: daily, Monday to Friday, Mondays,
                      at nine and at five. A day is expected if the same day of the week was kept, of the last three at
                      least as often as not; so nothing is expected on a day of the week that was never seen.
    by the month      always about the same day of the month, or about its end

A delivery too late, doubled or missing is one thing out of the ordinary, and a rhythm bears one, more as it gets
longer; what bears no more is no rhythm, and is never late. At least four deliveries, six for a period that no calendar
has. Files that come within hours of each other are one delivery where the rhythm is slower than that.

A delivery is late some time after it was due: an eighth of the time between two, twice what it ever was off, and longer
than clocks are changed by in spring and autumn. A series that stays away is ended after three periods, a week at least.

Thin: fewer than half of what is usual, the median of the last 20, and of what is usual on that day of the week; where
sizes differ from one to the next anyway, so few as there hardly ever are. Where the day of the week makes the
difference, that day alone is compared. Given up: what shrinks slowly is never thin, nor what comes on a day of the week
that was never seen.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby, pairwise
from math import exp, log
from statistics import median
from typing import Final

from importer.series import Delivery, gathered

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
_WEEK_MS: Final = 7 * DAY_MS
_BURST_MS: Final = 6 * HOUR_MS  # what comes within it of the file before is one delivery, where a day is the measure
_LEAST: Final = 4  # deliveries
_LEAST_GAPS: Final = 5  # of a period no calendar has
_WINDOW: Final = 24  # gaps that a period is judged by
_OFF: Final = 0.25  # of a period: more is out of the ordinary
_EXACT_MS: Final = 2.5 * HOUR_MS
_LEAST_DAYS: Final = 8  # that kept to it, where the time of day is not exact
_DAYS_JUDGED: Final = 63  # nine weeks
_PRECEDENTS: Final = 3  # the same day of the week
_COMPARED: Final = 20  # deliveries that the newest is compared with
_SAME_DAYS: Final = 5  # … and of the same day of the week
_WEEKDAYS: Final = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be expected of a series, as long as nothing more has come.

    Attributes:
        rhythm: in words.
        due_ms: when the next delivery usually comes.
        late_ms: from then on it is late.
        ended_ms: from then on the series is taken to have ended.
        thin_ms: from then on the newest delivery is too thin; None if it is not.
        size, usual_size: of the newest, and what is usual: in `measure`, "rows" or "bytes".
    """

    rhythm: str
    due_ms: int
    late_ms: int
    ended_ms: int
    thin_ms: int | None = None
    size: int = 0
    usual_size: int = 0
    measure: str = "rows"

    @property
    def attention_ms(self) -> int:
        """When it stops to be on time."""
        return self.late_ms if self.thin_ms is None else min(self.late_ms, self.thin_ms)


class State(StrEnum):
    """How a series stands."""

    ON_TIME = "on time"
    LATE = "late"
    THIN = "thin"
    ENDED = "ended"


def state_of(expected: Outlook, now_ms: int) -> State:
    """How a series stands that has this outlook."""
    if now_ms >= expected.ended_ms:
        return State.ENDED
    if now_ms >= expected.late_ms:
        return State.LATE
    return State.THIN if expected.thin_ms is not None and now_ms >= expected.thin_ms else State.ON_TIME


@dataclass(frozen=True, slots=True)
class Unusual:
    """A series that is not on time.

    Attributes:
        last_ms: when its newest file came.
    """

    name: str
    state: State
    last_ms: int
    expected: Outlook


@dataclass(frozen=True, slots=True)
class Looked:
    """What a sweep over the series found.

    Attributes:
        missing, thin: how many are late, and how many thin; those that are muted are not counted.
        late_ones, thin_ones: the first of them, by name.
        complete: all executions were read; else nothing can be said to be missing.
    """

    missing: int
    thin: int
    late_ones: tuple[Unusual, ...]
    thin_ones: tuple[Unusual, ...]
    complete: bool


def outlook(deliveries: Sequence[Delivery]) -> Outlook | None:
    """What is to be expected after these, in order of time; None: they have no rhythm."""
    if len(deliveries) < _LEAST:
        return None
    bursts = gathered(deliveries, _BURST_MS)
    tried: tuple[tuple[Callable[[list[Delivery]], _Rhythm | None], list[Delivery]], ...] = (
        (_often, list(deliveries)),
        (_by_the_day, bursts),
        (_by_the_month, bursts),
        (_seldom, bursts),
    )
    for rhythm_of, gathered_so in tried:
        rhythm = rhythm_of(gathered_so) if len(gathered_so) >= _LEAST else None
        if rhythm is not None:
            return _outlook(rhythm, gathered_so)
    return None


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """`due_ms` of the next slot after the newest delivery; that one may be up to `early_ms` before it."""

    words: str
    period_ms: float
    due_ms: float
    tolerance_ms: float


def _outlook(rhythm: _Rhythm, deliveries: list[Delivery]) -> Outlook:
    late_ms = round(rhythm.due_ms + rhythm.tolerance_ms)
    thin = _thin(deliveries)
    since_ms = None
    if thin is not None:
        *before, newest = deliveries
        usual_files = median(one.files for one in before[-_COMPARED:])
        longest_ms = max(one.last_ms - one.first_ms for one in before[-_COMPARED:])
        # Where several files make a delivery, those that are missing may still come.
        since_ms = newest.last_ms
        if newest.files < usual_files:
            since_ms = max(since_ms, newest.first_ms + longest_ms) + round(rhythm.tolerance_ms)
    return Outlook(
        rhythm.words,
        round(rhythm.due_ms),
        late_ms,
        late_ms + round(max(_WEEK_MS, 3 * rhythm.period_ms)),
        since_ms,
        *(thin or ()),
    )


# ---- So and so often -------------------------------------------------------------------------------------------------


def _often(deliveries: list[Delivery]) -> _Rhythm | None:
    """Several times a day, day and night: a day of it at least."""
    times = [one.first_ms for one in deliveries]
    rhythm = _period(times)
    whole_day = times[-1] - times[0] >= DAY_MS
    return rhythm if rhythm is not None and rhythm.period_ms <= DAY_MS / 2 * (1 + _OFF) and whole_day else None


def _seldom(deliveries: list[Delivery]) -> _Rhythm | None:
    return _period([one.first_ms for one in deliveries])


def _period(times: list[int]) -> _Rhythm | None:
    gaps = [after - before for before, after in pairwise(times[-_WINDOW - 1 :])]
    about_ms = median(gaps)
    usual = [gap for gap in gaps if _is_about(gap, about_ms)]
    # One that is late, or doubled, makes two gaps out of the ordinary, side by side; several missing ones make one.
    odd = sum(not is_usual for is_usual, _ in groupby(gaps, lambda gap: _is_about(gap, about_ms)))
    if len(usual) < _LEAST_GAPS or odd > len(usual) // 8:
        return None
    period_ms = sum(usual) / len(usual)
    last_ms = times[-1]
    # Where the grid lies, by the last few: one of them off does not move it.
    anchor_ms = median(time + round((last_ms - time) / period_ms) * period_ms for time in times[-5:])
    off_ms = _largest_but_one([abs(gap - period_ms) for gap in usual])
    tolerance_ms = max(30 * 60_000, period_ms / 8, 2 * off_ms)
    slot_ms = _next(_grid(anchor_ms, period_ms), last_ms + period_ms / 3, _seen(times, period_ms))
    if slot_ms is None:
        return None
    if abs(last_ms - anchor_ms) < _OFF * period_ms:  # it may drift: then what counts is the last one
        slot_ms = max(slot_ms, last_ms + period_ms)
    return _Rhythm(f"every {_span(period_ms)}", period_ms, slot_ms, tolerance_ms)


def _is_about(gap_ms: float, period_ms: float) -> bool:
    return abs(gap_ms - period_ms) <= _OFF * period_ms


def _grid(anchor_ms: float, period_ms: float) -> Iterator[float]:
    return (anchor_ms + number * period_ms for number in range(1, 1_000))


def _next(slots: Iterator[float], after_ms: float, expected: Callable[[float], bool]) -> float | None:
    return next((slot for slot in slots if slot > after_ms and expected(slot)), None)


def _seen(times: list[int], period_ms: float) -> Callable[[float], bool]:
    """Whether something came on this day of the week before, or at this time of it: until a week is over nobody knows
    when nothing is to come.
    """
    if period_ms > _WEEK_MS * (1 - _OFF):
        return lambda _slot: True
    on_day = Counter(_weekday(time) for time in times)
    few = max(median(on_day.values()) / 4, 1)

    def near(time_ms: float) -> bool:
        place = bisect_left(times, time_ms - 0.75 * period_ms)
        return place < len(times) and times[place] <= time_ms + 0.75 * period_ms

    def seen(slot_ms: float) -> bool:
        if period_ms > DAY_MS / 2 * (1 + _OFF):
            return on_day[_weekday(slot_ms)] >= few
        if times[0] <= slot_ms - _WEEK_MS - period_ms:
            return near(slot_ms - _WEEK_MS)
        return on_day[_weekday(slot_ms)] > 0 and near(slot_ms - DAY_MS)

    return seen


# ---- By the day ------------------------------------------------------------------------------------------------------


def _by_the_day(deliveries: list[Delivery]) -> _Rhythm | None:
    last_ms = deliveries[-1].first_ms
    times = [one.first_ms for one in deliveries if last_ms - one.first_ms <= _DAYS_JUDGED * DAY_MS]
    begin_ms, clusters = _times_of_day(times)
    kept = [_Daily(cluster, begin_ms, last_ms) for cluster in clusters if len(cluster) >= _LEAST]
    kept = [daily for daily in kept if daily.is_regular(alone=len(clusters) == 1)]
    if sum(len(daily.times) for daily in kept) * 2 < len(times) or not kept:
        return None
    week = sorted(slot for daily in kept for slot in daily.expected(last_ms, 8))
    apart_ms = min((after - before for before, after in pairwise(week)), default=_WEEK_MS)
    off_ms = max(daily.off_ms for daily in kept)
    # Longer than the hour of summer time.
    tolerance_ms = min(max(1.5 * HOUR_MS, apart_ms / 8, 2 * off_ms), max(apart_ms / 2, 12 * HOUR_MS))
    early_ms = min(max(tolerance_ms, 2 * off_ms), apart_ms / 3)
    slots = sorted(slot for daily in kept for slot in daily.expected(last_ms - DAY_MS, 16))
    due_ms = _next(iter(slots), last_ms + early_ms, lambda _slot: True)
    if due_ms is None:
        return None
    per_week = len({round(slot) for slot in slots if slots[0] <= slot < slots[0] + _WEEK_MS})
    return _Rhythm(_days_in_words(kept, week), _WEEK_MS / max(per_week, 1), due_ms, tolerance_ms)


def _times_of_day(times: list[int]) -> tuple[int, list[list[int]]]:
    """The times in groups of about the same time of day; and the time of day at which a day begins, where least is."""
    clock = sorted({time % DAY_MS for time in times})
    gaps = [(after - before, after) for before, after in pairwise([*clock, clock[0] + DAY_MS])]
    _, after = max(gaps)
    begin_ms = round(after - max(gaps)[0] / 2) % DAY_MS
    groups: list[list[int]] = []
    for time in sorted(times, key=lambda time: (time - begin_ms) % DAY_MS):
        if groups and (time - begin_ms) % DAY_MS - (groups[-1][-1] - begin_ms) % DAY_MS <= 3 * HOUR_MS:
            groups[-1].append(time)
        else:
            groups.append([time])
    return begin_ms, [sorted(group) for group in groups]


class _Daily:
    """Deliveries at about one time of day.

    Args:
        begin_ms: the time of day at which a day begins, so that none is split.
        last_ms: the newest delivery of all, at whatever time of day: until then a day may have been missed.
    """

    def __init__(self, times: list[int], begin_ms: int, last_ms: int) -> None:
        self.times = times
        self._begin_ms = begin_ms
        self._days = {self._day(time) for time in times}
        self._first, self._last = min(self._days), self._day(last_ms)
        clock = [(time - begin_ms) % DAY_MS for time in times]
        self.at_ms = median(clock[-5:])
        offs = [abs(at - self.at_ms) for at in clock[-14:]]
        # Few say little of how far off the next may be.
        self.off_ms = _largest_but_one(offs) if len(offs) >= 8 else 2 * max(offs)
        self.spread_ms = max(clock) - min(clock)

    @property
    def clock_ms(self) -> float:
        """Time of day, since midnight."""
        return (self._begin_ms + self.at_ms) % DAY_MS

    def _day(self, time_ms: float) -> int:
        return int((time_ms - self._begin_ms) // DAY_MS)

    def is_regular(self, alone: bool) -> bool:
        """Args:
        alone: nothing ever came at another time of day.
        """
        kept = odd = 0
        missed_before = False
        for day in range(max(self._first, self._last - _DAYS_JUDGED), self._last + 1):
            came, expected = day in self._days, self._is_expected(day)
            if expected is None:
                kept += came and day - 1 in self._days
            elif came:
                kept, odd = kept + expected, odd + (not expected)
                missed_before = False
            elif expected:
                odd += not missed_before  # some days without are one thing out of the ordinary
                missed_before = True
        # That it is always the same time of day is half of what speaks for a rhythm.
        is_exact = alone and self.spread_ms <= _EXACT_MS
        least = _LEAST - 1 if is_exact else _LEAST_DAYS
        return self.spread_ms <= 10 * HOUR_MS and kept >= least and odd <= (kept + 4) // 8

    def _is_expected(self, day: int) -> bool | None:
        """By the same days of the week before; None: there was none yet."""
        before = [day - 7 * weeks for weeks in range(1, _PRECEDENTS + 1) if self._first <= day - 7 * weeks]
        return None if not before else 2 * sum(one in self._days for one in before) >= len(before)

    def expected(self, after_ms: float, days: int) -> Iterator[float]:
        """Times at which it is expected, by what had come until the last delivery."""
        for day in range(self._day(after_ms), self._day(after_ms) + days):
            known = day if day <= self._last else day - -(-(day - self._last) // 7) * 7 + 7
            slot_ms = self._begin_ms + day * DAY_MS + self.at_ms
            if slot_ms > after_ms and self._is_expected(known):
                yield slot_ms


def _days_in_words(kept: list[_Daily], week: list[float]) -> str:
    days = sorted({_weekday(slot) for slot in week})
    if len(days) == 7:
        which = "daily"
    elif days == [0, 1, 2, 3, 4]:
        which = "Monday to Friday"
    else:
        which = _listed([_WEEKDAYS[day] for day in days])
    times = sorted({_time_of_day(daily.clock_ms) for daily in kept})
    return f"{which} about {_listed(times)} UTC"


# ---- By the month ----------------------------------------------------------------------------------------------------


def _by_the_month(deliveries: list[Delivery]) -> _Rhythm | None:
    times = [one.first_ms for one in deliveries[-13:]]
    gaps = [(after - before) / DAY_MS for before, after in pairwise(times)]
    usual = sum(25 <= gap <= 37 for gap in gaps)
    missing = sum(53 <= gap <= 68 for gap in gaps)
    if usual < _LEAST - 1 or usual + missing < len(gaps) or missing > 1:
        return None
    best: tuple[float, float, int] | None = None
    for turned_days in (0, 6):  # with the last days of a month those of the next
        offsets = [_into_the_month(time, turned_days) for time in times]
        spread_ms = max(offsets) - min(offsets)
        if best is None or spread_ms < best[0]:
            best = spread_ms, median(offsets), turned_days
    assert best is not None
    spread_ms, offset_ms, turned_days = best
    if spread_ms > 7 * DAY_MS:
        return None
    tolerance_ms = 1.5 * DAY_MS if spread_ms <= DAY_MS / 2 else max(4 * DAY_MS, 1.5 * spread_ms)
    month = _month_of(times[-1] + turned_days * DAY_MS)
    due_ms = _after(month, 1).timestamp() * 1000 + offset_ms
    day = datetime.fromtimestamp(due_ms / 1000, UTC).day
    words = f"monthly about the {day}{_ordinal(day)}" if offset_ms >= 0 else "monthly about its last day"
    return _Rhythm(words, 30.44 * DAY_MS, due_ms, tolerance_ms)


def _into_the_month(time_ms: float, turned_days: int) -> float:
    return time_ms - _month_of(time_ms + turned_days * DAY_MS).timestamp() * 1000


def _month_of(time_ms: float) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _after(month: datetime, months: int) -> datetime:
    for _ in range(months):
        month = (month + timedelta(days=32)).replace(day=1)
    return month


# ---- Thin ------------------------------------------------------------------------------------------------------------


def _thin(deliveries: list[Delivery]) -> tuple[int, int, str] | None:
    """Size, usual size and measure of the newest delivery, if it is thin."""
    *before, newest = [one for one in deliveries[-_COMPARED * 3 :] if one.files or one is deliveries[-1]]
    if not newest.files:
        return None  # refused as a whole, which is told
    with_rows = [one for one in before if one.rows is not None]
    if newest.rows is not None and len(with_rows) >= _LEAST:
        return _too_few(newest.rows, newest, [(one, one.rows or 0) for one in with_rows], "rows")
    alike = [(one, one.size_bytes) for one in before if one.packed == newest.packed]
    return _too_few(newest.size_bytes, newest, alike, "bytes") if len(alike) >= _LEAST else None


def _too_few(
    size: int, newest: Delivery, before: list[tuple[Delivery, int]], measure: str
) -> tuple[int, int, str] | None:
    by_day: dict[int, list[int]] = {}
    for one, one_size in before:
        by_day.setdefault(_weekday(one.first_ms), []).append(one_size)
    is_weekly = len(before) < 2 or before[-1][0].first_ms - before[-2][0].first_ms < _WEEK_MS * (1 - _OFF)
    same_day = by_day.get(_weekday(newest.first_ms), []) if is_weekly else [one_size for _, one_size in before]
    same_day = same_day[-_SAME_DAYS:]
    if not same_day or size >= median(same_day) / 2:
        return None  # a first Saturday may be what Saturdays are like
    compared = [one_size for _, one_size in before[-_COMPARED:]]
    if len(same_day) >= 2 and _explains(by_day):
        compared = same_day
    usual = median(compared)
    return (size, round(usual), measure) if size < usual * _least_share(compared) else None


def _least_share(sizes: list[int]) -> float:
    """What share of the median is still nothing unusual: half; less where sizes differ from one to the next anyway.

    Rule: 3.5 standard deviations of their logarithms, taken from the median deviation, which one that is off does not
    move.
    """
    usual = max(median(sizes), 1)
    deviation = 1.4826 * median(abs(log(max(size, 1) / usual)) for size in sizes)
    return min(0.5, exp(-3.5 * deviation))


def _explains(by_day: dict[int, list[int]]) -> bool:
    """Whether sizes differ from day to day of the week, and hardly on one."""
    days = [sizes[-_SAME_DAYS:] for sizes in by_day.values() if len(sizes) >= 2]
    usual = [median(sizes) for sizes in days]
    alike = all(
        sum(of_day / 2 <= size <= 2 * of_day for size in sizes) >= len(sizes) - (len(sizes) > 2)
        for sizes, of_day in zip(days, usual, strict=True)
    )
    return len(days) > 1 and alike and max(usual) > 2 * min(usual)


# ---- Words -----------------------------------------------------------------------------------------------------------


def _largest_but_one(values: Sequence[float]) -> float:
    return sorted(values)[-2] if len(values) > 1 else values[0]


def _weekday(time_ms: float) -> int:
    """0: Monday."""
    return int(time_ms // DAY_MS + 3) % 7


def _time_of_day(time_ms: float) -> str:
    minutes = round(time_ms % DAY_MS / 60_000) % 1_440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ordinal(day: int) -> str:
    return "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _span(period_ms: float) -> str:
    for unit, unit_ms in (("day", DAY_MS), ("hour", HOUR_MS)):
        if period_ms >= 0.95 * unit_ms:
            number = period_ms / unit_ms
            # A period is known to some percent, so 5.98 hours are 6.
            shown = round(number) if abs(number - round(number)) < 0.05 * number else round(number, 1)
            return unit if shown == 1 else f"{shown:g} {unit}s"
    return f"{round(period_ms / 60_000)} minutes"
