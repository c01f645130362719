"""The page of a preview: one HTML file that needs nothing beside it (pure).

Rule: rows are strangers' text (J8). Whatever is not `Html` is escaped where it is put in, by `_element`, the one place
that makes markup; controls and marks of direction are spelt out. The page's own policy allows one stylesheet, this one,
and nothing else: no script, no image, no address, wherever somebody opens it. Each list has a bound; what is left out
is counted, and stands in the JSON.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from importer.bad_rows import BadRow, row_text
from importer.costs import dollars
from importer.diagnosis import diagnosis
from importer.forecast import CHANGE_US, ROW_US
from importer.known import Where
from importer.model import Event, Value
from importer.preview import ALIKE, MAX_NAMES, Findings, Property, place_of, verdict
from importer.prices import AS_OF, REGION
from importer.words import (
    SERVICES,
    in_bytes,
    in_dollars,
    in_percent,
    in_time,
    many,
    remedy_of,
    said,
    shown_whole,
    utc,
)

SHOWN_NAMES: Final = 100  # of events, and of properties of a kind
SHOWN_MEMBERS: Final = 12  # of a row
SHOWN_CLASHES: Final = 20
NAME_CHARACTERS: Final = 120
VALUE_CHARACTERS: Final = 60
AROUND: Final = 160  # bytes of a refused row on each side of its place

_KINDS: Final = {
    Where.PROPERTIES: ("Properties", "properties", "of events"),
    Where.USER_PROPERTIES: ("Properties of users", "user-properties", "of users"),
    Where.SESSION_PROPERTIES: ("Properties of sessions", "session-properties", "of sessions"),
}


@dataclass(frozen=True, slots=True)
class Looked:
    """What was looked at, and how.

    Attributes:
        name: of the file, as whoever asked knows it.
        import_id: of the definition it was read by; "" where none was named.
        store: what its names were compared with, in words, such as "the stack s3-event-importer".
        json_name: where the same stands as JSON; "" where nowhere.
    """

    name: str
    size_bytes: int
    now_ms: int
    import_id: str = ""
    store: str = "the store"
    json_name: str = ""


class Html(str):
    """Markup of ours. Whatever else is put into an element is text."""

    __slots__ = ()


def page(found: Findings, looked: Looked) -> bytes:
    """The page, in UTF-8."""
    sections = list(_sections(found, looked))
    links = _join(_element("a", title, href=f"#{anchor}") for anchor, title, _ in sections)
    main = _element(
        "main",
        _verdict(found),
        *_shares(found, looked),
        _cards(found),
        _element("nav", links, aria_label="On this page") if len(sections) > 2 else "",
        *(_element("section", _element("h2", title, id=anchor), *content) for anchor, title, content in sections),
    )
    name = shown_whole(looked.name)
    head = _element(
        "head",
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        Html('<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'),
        _element("title", f"Preview of {name}"),
        _element("style", Html(_STYLE)),
    )
    body = _element("body", _header(found, looked), main, _footer(looked))
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'.encode()


# ---- The parts of it -----------------------------------------------------------------------------------------------


def _header(found: Findings, looked: Looked) -> Html:
    facts = [in_bytes(looked.size_bytes)]
    if found.compression:
        facts.append(found.compression)
    facts.append(f"import {shown_whole(looked.import_id)}" if looked.import_id else "no import definition")
    facts.append(f"looked at {utc(looked.now_ms // 1000 * 1000)}")
    return _element(
        "header",
        _element("p", "Preview of an import", class_="kicker"),
        _element("h1", _quoted(looked.name, 1_100)),
        _element("p", " · ".join(facts), class_="facts"),
    )


def _verdict(found: Findings) -> Html:
    kind, mark = "fine", "✓"
    if found.problem is not None:
        kind, mark = "refused", "✕"
    elif found.tally.bad or _clashes(found):
        kind, mark = "mixed", "!"
    told = [
        _element("p", _element("span", mark, class_="mark", aria_hidden="true"), _element("strong", verdict(found)))
    ]
    if found.problem is not None:
        told.append(_element("p", shown_whole(found.problem.message)))
        code = _element("code", found.problem.code)
        if found.is_judged:
            told.append(_element("p", "It would end FAILED, with the code ", code, ", and the file would stay."))
    return _element("div", *told, class_=f"verdict {kind}", role="note")


def _shares(found: Findings, looked: Looked) -> Iterator[Html]:
    """How much of the file all this is of, where it is not all of it."""
    if found.whole or (found.problem is not None and not found.tally.lines):
        return
    if found.share is None or found.problem is not None:
        yield _notice(f"Looked at: the first {in_bytes(found.read_to)} of its rows. All numbers are of that part.")
        return
    of_what = f"{in_bytes(found.read_to)}, {in_percent(float(found.share))} of it"
    if found.compression:
        of_what = f"{in_bytes(found.read_to)} unpacked, {in_percent(float(found.share))} of it as stored"
    rest = "Cost and time are for the whole file, as if the rest were like it. " if found.cost else ""
    yield _notice(
        f"Only the beginning of this file was looked at: {of_what}. All numbers are of that part. {rest}"
        "What stands further down nobody has seen."
    )


def _notice(text: str) -> Html:
    return _element("p", text, class_="notice", role="note")


def _cards(found: Findings) -> Html:
    tally = found.tally
    if not tally.lines and found.problem is not None:
        return Html("")
    cards: list[tuple[str, str, str]] = [
        ("Rows", f"{tally.rows:,}", many(tally.blank, "blank line") if tally.blank else ""),
        ("Good", f"{tally.good:,}", _part(tally.good, tally.rows)),
        ("Refused", f"{tally.bad:,}", _part(tally.bad, tally.rows)),
        ("Events", f"{tally.events:,}", many(len(found.event_names), "name") if found.event_names else ""),
    ]
    if tally.expired:
        cards.append(("Expired", f"{tally.expired:,}", "by their own time to live"))
    if tally.user_changes:
        cards.append(("Changes of users", f"{tally.user_changes:,}", ""))
    if found.cost is not None:
        usd = float(sum(dollars(found.cost.usage).values()))
        cards.append(("Would cost", in_dollars(usd), "about, at list prices"))
        cards.append(("Would take", in_time(found.cost.seconds), "about, in a new table"))
    return _element(
        "dl",
        *(
            _element(
                "div",
                _element("dt", name),
                _element("dd", value, _small(small)),
                class_="card some" if name == "Refused" and tally.bad else "card",
            )
            for name, value, small in cards
        ),
        class_="cards",
    )


def _part(count: int, whole: int) -> str:
    return in_percent(count / whole) if whole else ""


def _small(text: str) -> Html:
    return _element("small", text) if text else Html("")


def _sections(found: Findings, looked: Looked) -> Iterator[tuple[str, str, list[Html]]]:
    """(anchor, title, content)"""
    attention = list(_attention(found))
    if attention:
        yield "attention", "Worth a look", [_element("ul", *attention, class_="attention")]
    about = _about(found)
    if about:
        yield "file", "What it is", [about]
    if found.first_events:
        yield "first-rows", "First rows, as they would be stored", [_first_rows(found)]
    if found.event_names:
        yield "events", "Events", [_event_names(found)]
    for where, known in found.names():
        if known:
            title, anchor, _ = _KINDS[where]
            yield anchor, title, [_properties(found, where, known)]
    if found.tally.bad:
        yield "refused", "Refused rows", [_reasons(found), *_bad_rows(found)]
    if found.cost is not None:
        yield "cost", "Cost and time", list(_cost(found))
    if found.event_names or any(known for _, known in found.names()):
        yield "compared", "Compared with", [_element("p", _compared(found, looked))]


# ---- What a person should not miss ----------------------------------------------------------------------------------


def _attention(found: Findings) -> Iterator[Html]:
    cause = diagnosis(found.tally.rows, found.reasons.folded())
    if cause is not None:
        message = shown_whole(str(cause["message"]))
        told = _element("strong", message[:1].upper() + message[1:])
        yield _element("li", told, _element("p", "Remedy for all of them: ", shown_whole(str(cause["remedy"]))))
    if set(found.marked) - {found.format}:
        marked = ", ".join(f"{many(count, 'row')} of {name}" for name, count in found.marked.items())
        yield _element("li", f"The first rows are mixed: {marked}. Each is read by its own dialect.")
    clashes = _clashes(found)
    yield from clashes[:SHOWN_CLASHES]
    if len(clashes) > SHOWN_CLASHES:
        yield _element("li", f"{len(clashes) - SHOWN_CLASHES:,} more properties have types that clash.")
    for what, new in _new_names(found):
        listed = _join((_element("strong", _name(name)) for name in new[:8]), ", ")
        more = f" and {len(new) - 8:,} more" if len(new) > 8 else ""
        was = "was" if len(new) == 1 else "were"
        yield _element("li", f"{many(len(new), what)} {was} not found in the store: ", listed, f"{more}.")
    for code, noted in sorted(found.tally.notes.items()):
        told = _element("code", code)
        yield _element("li", told, f": {many(noted.count, 'row')}, the first is line {noted.first_line:,}.")


def _new_names(found: Findings) -> Iterator[tuple[str, list[str]]]:
    new = [name for name in found.event_names if found.is_new(Where.EVENTS, name)]
    if new:
        yield "event name", new
    for where, known in found.names():
        new = [name for name in known if found.is_new(where, name)]
        if new:
            of = {Where.USER_PROPERTIES: "user ", Where.SESSION_PROPERTIES: "session "}.get(where, "")
            yield f"{of}property", new


def _clashes(found: Findings) -> list[Html]:
    """A sentence for each property with several types, or with others than the store has."""
    clashes = []
    for where, known in found.names():
        of = "" if where is Where.PROPERTIES else f" ({_KINDS[where][2]})"
        for name, one in known.items():
            stored = found.stored_types(where, name)
            there = f" In the store it is {_listed(stored)}." if stored else ""
            if one.clashes:
                seen = ", ".join(
                    f"{kind} in {many(seen.count, 'row')} (first: line {seen.first_line:,})"
                    for kind, seen in one.types.items()
                )
                told = f" has several types: {seen}. Each is stored as sent; one column could not hold them."
                clashes.append(_element("li", _element("strong", _name(name)), of, told, there))
            elif stored:
                told = f" is {_listed(one.types)} here.{there}"
                clashes.append(_element("li", _element("strong", _name(name)), of, told))
    return clashes


def _listed(words: Iterable[str]) -> str:
    *before, last = list(words)
    return f"{', '.join(before)} and {last}" if before else last


# ---- Tables ---------------------------------------------------------------------------------------------------------


def _about(found: Findings) -> Html:
    facts: list[tuple[str, Html | str]] = []
    dialect = _element("strong", found.format)
    if found.evidence:
        why = f", because of {', '.join(found.evidence)}"
    else:
        why = ": nothing in its first rows speaks for any, so it is read by default" if found.tally.rows else ""
    if found.evidence or found.tally.lines:
        facts.append(("Dialect", _join([dialect, _text(shown_whole(why))])))
    if found.compression:
        facts.append(("Compressed", found.compression))
    if found.earliest_ms is not None:
        facts.append(("Time of its events", f"{utc(found.earliest_ms)} to {utc(found.latest_ms)}"))
    if found.user_records:
        told = ", ".join(many(count, kind) for kind, count in found.user_records.items())
        facts.append(("Of users", told))
    if found.tally.lines:
        facts.append(("Lines", f"{found.tally.lines:,}, of which {found.tally.blank:,} blank"))
    pairs = [_element("div", _element("dt", name), _element("dd", fact)) for name, fact in facts]
    return _element("dl", *pairs, class_="pairs") if pairs else Html("")


def _first_rows(found: Findings) -> Html:
    rows = [
        [f"{line:,}", utc(event.event_time_ts), _quoted(event.user_id), _name(event.event_name), _members(event)]
        for line, event in found.first_events
    ]
    return _table(
        "The first good rows", ("Line", "Time", "User", "Event", "Properties"), rows, numbers=(0,), nowrap=(1,), named=0
    )


def _members(event: Event) -> Html:
    members = {**event.properties, **(event.session_properties or {})}
    shown = [
        _element("span", _name(name), "=", _value(value), class_="member")
        for name, value in list(members.items())[:SHOWN_MEMBERS]
    ]
    if len(members) > SHOWN_MEMBERS:
        shown.append(_element("span", f"and {len(members) - SHOWN_MEMBERS:,} more", class_="quiet"))
    return _join(shown, " ")


def _event_names(found: Findings) -> Html:
    ranked = sorted(found.event_names.items(), key=lambda pair: -pair[1])
    compared = found.known is not None and found.known.events.items > 0
    rows = []
    for name, count in ranked[:SHOWN_NAMES]:
        row: list[Html | str] = [_name(name), f"{count:,}", _bar(count, found.tally.events)]
        if compared:
            row.append(_chip("new", "new") if found.is_new(Where.EVENTS, name) else "known")
        rows.append(row)
    head = ("Event", "Count", "Share", *(("Store",) if compared else ()))
    return _join([_table("Names of events", head, rows, numbers=(1,), named=0), _left_out(found, len(ranked))])


def _properties(found: Findings, where: Where, known: dict[str, Property]) -> Html:
    compared = found.known is not None and found.known.looked_at(where).items > 0
    of_events = where is not Where.USER_PROPERTIES
    rows = []
    for name, one in list(known.items())[:SHOWN_NAMES]:
        row: list[Html | str] = [_name(name), _types(one), f"{one.count:,}"]
        if of_events:
            row.append(_bar(one.count, found.tally.events))
        row.append(_join((_value(sample) for sample in one.samples), _element("span", ", ", class_="quiet")))
        if compared:
            row.append(_in_store(found, where, name))
        rows.append(row)
    share = ("Share",) if of_events else ()
    head = ("Name", "Type", "Rows", *share, "Values", *(("Store",) if compared else ()))
    return _join([_table(_KINDS[where][0], head, rows, numbers=(2,), named=0), _left_out(found, len(known))])


def _types(one: Property) -> Html:
    if not one.clashes:
        return _text(", ".join(one.types))
    told = (
        _chip("clash", f"{kind} {seen.count:,}", f" from line {seen.first_line:,}") for kind, seen in one.types.items()
    )
    return _join(told, " ")


def _in_store(found: Findings, where: Where, name: str) -> Html | str:
    if found.is_new(where, name):
        return _chip("new", "new")
    stored = found.stored_types(where, name)
    return _chip("clash", f"there: {_listed(stored)}") if stored else "known"


def _left_out(found: Findings, count: int) -> Html:
    """What a table does not have."""
    told = []
    if count > SHOWN_NAMES:
        told.append(f"{count - SHOWN_NAMES:,} more names are in the JSON.")
    if count >= MAX_NAMES and found.names_left_out:
        told.append(f"{found.names_left_out:,} values and events stand under names that found no place there either.")
    return _element("p", " ".join(told), class_="quiet") if told else Html("")


def _reasons(found: Findings) -> Html:
    rows: list[list[Html | str]] = []
    for group in found.reasons.folded():
        fix, line = remedy_of(group)
        first = group["first_line"]
        if line != first and line is not None:
            fix += f" (line {line:,})"
        count: Any = group["count"]
        code = _element("code", str(group["code"]))
        field = _name(str(group["field"])) if group["field"] else "–"
        rows.append([f"{count:,}", code, field, f"{first:,}" if isinstance(first, int) else "–", _quoted(fix, 600)])
    head = ("Rows", "Reason", "Field", "First line", "How to mend it")
    return _table("Refused rows by reason", head, rows, numbers=(0, 3), named=1)


def _bad_rows(found: Findings) -> Iterator[Html]:
    if not found.examples:
        return
    all_of_them = len(found.examples) == found.tally.bad
    yield _element("h3", "As they were sent" if all_of_them else f"As they were sent: at most {ALIKE} of a kind")
    for row in found.examples:
        line = f"Line {row.line:,}" if row.line is not None else "Line –"
        where = [_element("strong", line), f" byte {row.offset:,} ", _element("code", row.reason)]
        if row.field:
            where += [" field ", _name(row.field)]
        told = [_element("p", *where, class_="where"), _element("p", shown_whole(row.message)), _excerpt(row)]
        if row.hint:
            told.append(_element("p", _element("strong", "Fix: "), shown_whole(row.hint), class_="fix"))
        yield _element("article", *told, class_="row")


def _excerpt(row: BadRow) -> Html:
    """The row around the place its reason speaks of, which is marked; its begin, if that is the row as a whole."""
    raw = row_text(row.raw)
    place = place_of(row)
    if place is None:
        cut = "…" if len(raw) > 2 * AROUND else ""
        return _pre(_decoded(raw[: 2 * AROUND]), cut)
    begin = max(0, place.start - AROUND)
    while 0 < begin < place.start and 0x80 <= raw[begin] < 0xC0:  # never in the middle of a character
        begin += 1
    stop = min(place.stop, place.start + 2 * AROUND)
    marked = _decoded(raw[place.start : stop]) or "⌃"  # something is missing just here
    after = raw[stop : stop + AROUND]
    return _pre(
        "…" if begin else "",
        _decoded(raw[begin : place.start]),
        _element("mark", marked),
        _decoded(after),
        "…" if stop + len(after) < len(raw) else "",
    )


def _pre(*content: Html | str) -> Html:
    return _element("pre", _element("bdi", *content))


def _decoded(raw: bytes) -> str:
    return shown_whole(raw.decode("utf-8", "backslashreplace"))


def _cost(found: Findings) -> Iterator[Html]:
    cost = found.cost
    assert cost is not None
    by_service = sorted(dollars(cost.usage).items(), key=lambda pair: -pair[1])
    rows: list[list[Html | str]] = [[SERVICES[name], in_dollars(float(usd))] for name, usd in by_service if usd]
    rows.append(
        [_element("strong", "in all"), _element("strong", in_dollars(float(sum(usd for _, usd in by_service))))]
    )
    yield _table("What an import would cost", ("Service", "About"), rows, numbers=(1,), named=0, class_="narrow")
    units = dict(cost.usage.counts())
    written = [
        f"{units[name]:,} write units for {what}"
        for name, what in (("event_write_units", "events"), ("user_write_units", "users"))
        if units.get(name)
    ]
    if cost.stream_bytes:
        single, packed, gzip = (in_bytes(count) for count in cost.stream_bytes.values())
        written.append(f"{packed} billed on the stream ({gzip} with StreamGzip; {single} with a record for each event)")
    share = "" if cost.share == 1 else f" from {in_percent(float(cost.share))} of the file"
    told = f"{'; '.join(written)}. " if written else ""
    yield _element(
        "p",
        f"{told}An estimate{share}: nothing tried again, list prices of {REGION} as of {AS_OF}. The time is that of "
        f"one new table, which takes some {1_000_000 // ROW_US:,} events or {1_000_000 // CHANGE_US:,} changes of "
        "users a second; one that has grown takes more.",
        class_="quiet",
    )


def _compared(found: Findings, looked: Looked) -> str:
    known = found.known
    if known is None:
        why = f": {shown_whole(found.not_compared)}" if found.not_compared else ""
        return f"Names and types were compared with nothing{why}."
    if not known.events.items and not known.user_records.items:
        return f"{looked.store[:1].upper()}{looked.store[1:]} is empty: there was nothing to compare names with."
    parts = []
    for kind, table in (("event", known.events), ("user record", known.user_records)):
        if table.items:
            all_of = f"all {table.items:,} {kind}s" if table.items > 1 else f"the only {kind}"
            parts.append(all_of if table.whole else f"a sample of {many(table.items, kind)}")
    told = f"Names and types were compared with {' and '.join(parts)} in {looked.store}. No value of theirs is shown."
    if known.events.whole and known.user_records.whole:
        return told
    return (
        f"{told} There is no list of all names, so a sample from all over the tables has to do: it may miss what is "
        "rare, and “new” means that it was not in the sample."
    )


def _footer(looked: Looked) -> Html:
    told = "This page quotes rows of the file: treat it as you treat the file. Nothing was written to any store."
    same = [" The same as JSON: ", _element("code", _quoted(looked.json_name, 1_100)), "."] if looked.json_name else []
    return _element("footer", _element("p", told, *same))


# ---- Building blocks -------------------------------------------------------------------------------------------------


def _table(
    caption: str,
    titles: Sequence[str],
    rows: Sequence[Sequence[Html | str]],
    *,
    named: int,
    numbers: Sequence[int] = (),
    nowrap: Sequence[int] = (),
    class_: str = "",
) -> Html:
    """A table that scrolls by itself where it is too wide, by keyboard too.

    Args:
        named: the column that names its row.
        numbers, nowrap: columns of numbers, and such as are never wrapped.
    """

    def kind(column: int) -> str:
        return "number" if column in numbers else "whole" if column in nowrap else ""

    head = _element("tr", *(_element("th", t, scope="col", class_=kind(n)) for n, t in enumerate(titles)))
    body = (
        _element(
            "tr",
            *(
                _element("th", cell, scope="row", class_=kind(n))
                if n == named
                else _element("td", cell, class_=kind(n))
                for n, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    made = _element(
        "table", _element("caption", caption), _element("thead", head), _element("tbody", *body), class_=class_
    )
    return _element("div", made, class_="scroll", role="region", aria_label=f"Table: {caption}", tabindex="0")


def _name(name: str) -> Html:
    """A name of the sender's: isolated, so that its direction is its own; "" is told, since nobody would see it."""
    return _quoted(name, NAME_CHARACTERS) if name else _element("span", "(empty)", class_="quiet")


def _quoted(text: str, most: int = NAME_CHARACTERS) -> Html:
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return _element("bdi", shown_whole(cut))


def _value(value: Value) -> Html:
    return _element("bdi", said(value, VALUE_CHARACTERS), class_="value")


def _chip(kind: str, text: str, small: str = "") -> Html:
    return _element("span", text, _small(small), class_=f"chip {kind}")


def _bar(count: int, whole: int) -> Html:
    share = count / whole if whole else 0.0
    drawn = Html(
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect width="100" height="8"/><rect class="of" width="{min(100 * share, 100):.1f}" height="8"/></svg>'
    )
    return _element("span", drawn, _element("span", in_percent(min(share, 1.0))), class_="bar")


def _element(tag: str, *content: Html | str, **attributes: str) -> Html:
    """An element; what is not markup of ours is escaped. `class_` is the attribute class, `aria_label` aria-label."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(shown_whole(value))}"'
        for name, value in attributes.items()
        if value
    )
    return Html(f"<{tag}{written}>{''.join(map(_text, content))}</{tag}>")


def _text(content: Html | str) -> Html:
    return content if isinstance(content, Html) else Html(html.escape(content))


def _join(pieces: Iterable[Html], between: Html | str = "") -> Html:
    return Html(_text(between).join(pieces))


# ---- How it looks ----------------------------------------------------------------------------------------------------

# Every pair of colours of text has a contrast of at least 4.5 (WCAG 2.2, 1.4.3); tests/browser measures it.
_STYLE: Final = """
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--line:#d5d9df;--text:#1b1f24;--quiet:#575f69;--link:#0a53be;
--fine:#136429;--fine-back:#e6f4ea;--mixed:#6f4700;--mixed-back:#fff3d6;--refused:#a1121f;--refused-back:#fdeaea;
--bar:#4a7fd6;--track:#e4e8ee;--mark:#ffdf80;--mark-text:#1b1f24;--code:#eef0f4}
@media screen and (prefers-color-scheme:dark){:root{--page:#0f1217;--card:#171c23;--line:#323a45;--text:#e7ebf0;
--quiet:#a0a9b4;--link:#80b4ff;--fine:#6fd58a;--fine-back:#13281a;--mixed:#eec25c;--mixed-back:#2c2410;--refused:#ff9a95;
--refused-back:#341618;--bar:#5b8fe6;--track:#2a313b;--mark:#7a5a00;--mark-text:#fff;--code:#222933}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
header,main,footer{max-width:76rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.6rem;line-height:1.25;margin:.1rem 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;line-height:1.3;margin:0 0 .8rem}
h3{font-size:1rem;margin:1.6rem 0 .6rem}
p{margin:.4rem 0}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:3px}
code,pre,.value{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875em}
code{background:var(--code);border-radius:4px;padding:.1em .35em;overflow-wrap:anywhere}
bdi{overflow-wrap:anywhere}
.kicker{color:var(--quiet);font-weight:600;margin:0}
.facts,.quiet,small,caption{color:var(--quiet)}
small{font-size:.82rem;font-weight:400}
.verdict,.notice,section,.card{border:1px solid var(--line);border-radius:10px;background:var(--card)}
.verdict{margin:1.2rem 0 0;padding:.8rem 1.1rem;border-left-width:6px;overflow-wrap:anywhere}
.verdict strong{font-size:1.12rem}
.mark{display:inline-block;width:1.6rem;font-weight:700}
.fine{border-color:var(--fine);background:var(--fine-back)}.fine .mark{color:var(--fine)}
.mixed{border-color:var(--mixed);background:var(--mixed-back)}.mixed .mark{color:var(--mixed)}
.refused{border-color:var(--refused);background:var(--refused-back)}.refused .mark{color:var(--refused)}
.notice{margin:1rem 0 0;padding:.7rem 1.1rem;border-style:dashed;border-color:var(--mixed)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.9rem,1fr));gap:.7rem;margin:1.2rem 0}
.card{padding:.6rem .9rem}
.card.some dd{color:var(--mixed)}
dt{color:var(--quiet);font-size:.875rem}
dd{margin:0;overflow-wrap:anywhere}
.card dd{white-space:nowrap;font-size:1.35rem;font-weight:650;line-height:1.3;font-variant-numeric:tabular-nums}
.card small{display:block;white-space:normal}
nav{display:flex;flex-wrap:wrap;gap:.35rem 1.1rem;margin:0 0 1.2rem}
section{padding:1.1rem 1.25rem 1.2rem;margin:0 0 1.1rem;scroll-margin-top:1rem}
.attention{margin:0;padding-left:1.2rem}.attention li{margin:.35rem 0;overflow-wrap:anywhere}
.attention li::marker{color:var(--mixed)}
.pairs{margin:0}.pairs div{display:grid;grid-template-columns:11rem 1fr;gap:.2rem 1rem;padding:.25rem 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9375rem}
caption{text-align:left;position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden;white-space:nowrap}
th,td{text-align:left;vertical-align:top;padding:.4rem .9rem .4rem 0;border-bottom:1px solid var(--line)}
thead th{color:var(--quiet);font-size:.8125rem;white-space:nowrap}
tbody th{font-weight:600}
.narrow{width:auto}
tbody tr:last-child>*{border-bottom:0}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.whole{white-space:nowrap}
.scroll bdi{display:inline-block;max-width:min(24rem,62vw);overflow-wrap:break-word;overflow:clip;
overflow-clip-margin:.15em;vertical-align:top}
.scroll td:last-child>bdi{max-width:none;min-width:16rem}.scroll code{white-space:nowrap}
.member{display:inline-block;margin-right:.7rem}td:has(.member){min-width:18rem}td:has(>.value){min-width:12rem}
.member>bdi:first-child{color:var(--quiet)}
.chip{display:inline-block;border:1px solid;border-radius:99px;padding:0 .55rem;font-size:.8125rem;white-space:nowrap}
.chip small{font-size:inherit}
.new{color:var(--link)}.clash{color:var(--mixed);background:var(--mixed-back)}.clash small{color:inherit}
.bar{display:flex;align-items:center;gap:.5rem;white-space:nowrap;font-variant-numeric:tabular-nums}
.bar svg{width:5.5rem;height:.5rem;border-radius:3px;flex:none}.bar rect{fill:var(--track)}.bar .of{fill:var(--bar)}
.row{border-top:1px solid var(--line);padding:.7rem 0 .5rem}
.where code{color:var(--mixed);background:var(--mixed-back)}
pre{margin:.5rem 0;padding:.6rem .8rem;background:var(--code);border-radius:6px;white-space:pre-wrap;
overflow-wrap:anywhere}
mark{background:var(--mark);color:var(--mark-text);border-radius:3px;padding:0 .1em;text-decoration:underline;
text-decoration-thickness:2px;text-underline-offset:3px}
.fix strong{color:var(--fine)}
footer{color:var(--quiet);padding-bottom:2rem;font-size:.9375rem}
@media (max-width:40rem){header,main,footer{padding-left:.8rem;padding-right:.8rem}section{padding:.9rem .8rem}
.pairs div{grid-template-columns:1fr;gap:0}.cards{grid-template-columns:repeat(auto-fill,minmax(8rem,1fr))}}
@media print{:root{color-scheme:light;--page:#fff;--line:#bbb;--text:#000;--quiet:#444}
body{font-size:10.5pt}nav{display:none}.scroll{overflow:visible}section,.verdict,.notice,.card{break-inside:avoid-page}
section:has(table),section:has(.row){break-inside:auto}tr,.row{break-inside:avoid}thead{display:table-header-group}
h2,h3{break-after:avoid}.chip{white-space:normal;border-radius:.6rem}.scroll bdi{max-width:16rem}}
"""
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
