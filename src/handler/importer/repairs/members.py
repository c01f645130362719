"""A row of valid JSON that its dialect refuses → the edits that its reason asks for (pure text, in place)."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from importer.bad_rows import BadRow, Reason, shown
from importer.fields import is_placeholder
from importer.repairs import times
from importer.repairs.loose_json import Kind, Member, Node, scan
from importer.repairs.rules import Edit, Rule, Step, edited

_PRESENT: Final = re.compile(r"(.+) present: did you mean (.+)\?\Z", re.DOTALL)
_MEANT: Final = re.compile(r"did you mean (.+)\?\Z")
_PUT_INTO: Final = re.compile(r"put it into ([A-Za-z_$][\w$.\[\]]*)")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_WRAPPERS: Final = frozenset(
    ["attributes", "attrs", "context", "custom", "data", "event", "fields", "parameters", "params", "payload"]
) | {"properties", "property", "props", "values"}
_TIMES: Final = frozenset([Reason.TIME_UNIT, Reason.BAD_TIME, Reason.WRONG_TYPE])
_MOST: Final = 200  # members of one object that are looked at


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row's text, mended by one step (and by `others` before it, of one reading of the text); whether it is a good
    row now is for the reader to say."""

    text: str
    step: Step
    others: tuple[Step, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*self.others, self.step)


class Ambiguous(Exception):
    """The row may be meant in several ways; the words say which."""


def candidates(bad: BadRow, text: str, hint_of: Callable[[str], BadRow | None]) -> Iterator[Candidate]:
    """What may be done about a refused row, the likeliest first.

    Args:
        text: the row, which is one JSON object.
        hint_of: what a reader says of another text in its place; None if that is a good row.
    Raises:
        Ambiguous: a person has to choose.
    """
    scanned = scan(text)
    if scanned.edits or len(scanned.rows) != 1 or scanned.rows[0].kind is not Kind.OBJECT:
        return
    row = _Row(text, scanned.rows[0])
    if bad.reason == Reason.DUPLICATE_KEY:
        yield from _repeated(bad, row)
        return
    present = _PRESENT.match(bad.hint)
    if present is not None:
        yield from _near_name(bad, row, present[1], present[2], hint_of)
    into = _PUT_INTO.search(bad.hint)
    if into is not None:
        yield from _moved_into(bad, row, into[1])
    if bad.reason == Reason.UNKNOWN_SCOPE_PREFIX:
        yield from _scope(bad, row)
    if bad.reason == Reason.MISSING_FIELD:
        yield from _nested_elsewhere(bad, row)
    for parent, member in row.at(bad.field):
        yield from _of_a_member(bad, row, parent, member)
    if "[" in bad.field:
        for node in row.items_at(bad.field):
            yield from _of_a_value(bad, row, node)


class _Row:
    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self.root = root

    def source(self, node: Node) -> str:
        return self.text[node.start : node.stop]

    def at(self, path: str) -> list[tuple[Node, Member]]:
        """Members a reason may speak of; a reason cuts and escapes the names it shows."""
        return [(parent, last) for parent, last in _walk(self.root, path) if isinstance(last, Member)]

    def items_at(self, path: str) -> list[Node]:
        return [last for _, last in _walk(self.root, path) if isinstance(last, Node)]

    def object_at(self, path: str) -> Node | None:
        if not path:
            return self.root
        for _, last in _walk(self.root, path):
            node = last.value if isinstance(last, Member) else last
            if node.kind is Kind.OBJECT:
                return node
        return None

    def without(self, parent: Node, member: Member) -> Edit:
        """The edit that takes a member out, with one comma."""
        index = next(i for i, m in enumerate(parent.members) if m is member)
        if index + 1 < len(parent.members):
            return Edit(member.start, parent.members[index + 1].start, "")
        if index:
            return Edit(parent.members[index - 1].value.stop, member.value.stop, "")
        return Edit(member.start, member.value.stop, "")


def _walk(node: Node, path: str) -> Iterator[tuple[Node, "Member | Node"]]:
    for member in node.members:
        names = (member.name, shown(member.name), re.sub(r"\A\{[us]\}", "", member.name))
        if path in names:
            yield node, member
            continue
        for name in dict.fromkeys(names):
            if name and path.startswith((f"{name}.", f"{name}[")):
                yield from _inside(member.value, path[len(name) :])
    if not node.members:
        yield from _inside(node, path)


def _inside(node: Node, rest: str) -> Iterator[tuple[Node, "Member | Node"]]:
    if rest.startswith("."):
        if node.kind is Kind.OBJECT:
            yield from _walk(node, rest[1:])
        return
    found = re.match(r"\[(\d+)\]", rest)
    if found is None or node.kind is not Kind.ARRAY or int(found[1]) >= len(node.items):
        return
    item, rest = node.items[int(found[1])], rest[found.end() :]
    if not rest:
        yield node, item
    else:
        yield from _inside(item, rest)


# ---- Names -----------------------------------------------------------------------------------------------------------


def _near_name(
    bad: BadRow, row: _Row, near: str, meant: str, hint_of: Callable[[str], BadRow | None]
) -> Iterator[Candidate]:
    folder = bad.field.rpartition(".")[0] if "." in bad.field else ""
    # Beside the missing one, inside what the reason is about, or at the top.
    paths = (f"{folder}.{near}" if folder else near, f"{bad.field}.{near}", near)
    found = ([(p, m) for p, m in row.at(path) if shown(m.name) == near] for path in paths)
    places = next((some for some in found if some), [])
    if len(places) != 1:
        return
    parent, member = places[0]
    name = meant.rpartition(".")[2] if folder and meant.startswith(folder) else meant
    without = edited(row.text, [row.without(parent, member)])
    said = hint_of(without)
    other = _PRESENT.match(said.hint) if said is not None and said.reason == bad.reason else None
    if other is not None and other[2] == meant:
        raise Ambiguous(f"{near} and {other[1]} could both be {meant}: rename the right one")
    edits = [Edit(member.start, member.key_stop, json.dumps(name, ensure_ascii=False))]
    # One of the right name, but empty, stands in the way.
    edits += [row.without(parent, m) for m in parent.members[:_MOST] if m.name == name and m is not member]
    certain = _folded(near) == _folded(name)
    why = f"{near} is {name}, spelt otherwise" if certain else f"{near} looks like {name}, which is missing"
    yield from _tried(row.text, edits, Step(Rule.NEAR_NAME, why, certain))


def _folded(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _scope(bad: BadRow, row: _Row) -> Iterator[Candidate]:
    for parent, member in row.at(bad.field):
        found = re.match(r"\{\s*([A-Za-z_]*)\s*\}?\s*", member.name)
        scope = found[1].lower() if found is not None else ""
        if found is None or not scope or scope not in ("u", "user", "s", "session"):
            continue
        name = f"{{{scope[0]}}}{member.name[found.end() :]}"
        if name == member.name or any(m.name == name for m in parent.members[:_MOST]):
            continue
        edit = Edit(member.start, member.key_stop, json.dumps(name, ensure_ascii=False))
        why = f"the prefix {found[0].strip()} is written {{{scope[0]}}}"
        yield from _tried(row.text, [edit], Step(Rule.SCOPE, why, len(found[1]) == 1))


def _renamed(row: _Row, parent: Node, member: Member, name: str, step: Step) -> Iterator[Candidate]:
    if name and name != member.name and all(m.name != name for m in parent.members[:_MOST]):
        edit = Edit(member.start, member.key_stop, json.dumps(name, ensure_ascii=False))
        yield from _tried(row.text, [edit], step)


def _repeated(bad: BadRow, row: _Row) -> Iterator[Candidate]:
    folder = bad.field.rpartition(".")[0] if not row.at(bad.field) else ""
    pairs = row.at(bad.field)
    if not pairs and folder:
        pairs = row.at(folder)
    for parent, member in pairs[:1]:
        same = [m for m in parent.members if m.name.lower() == member.name.lower()]
        if len(same) < 2:
            return
        texts = {_same_text(row, m) for m in same}
        if len(texts) == 1:
            step = Step(Rule.REPEATED_KEY, f"{bad.field} says the same twice: once is enough", True)
            yield from _tried(row.text, _outs(row, parent, same[1:]), step)
            return
        empty = [m for m in same if row.source(m.value) in ("null", '""')]
        if len({_same_text(row, m) for m in same if m not in empty}) == 1:
            keep = next(m for m in same if m not in empty)
            step = Step(Rule.REPEATED_KEY, f"{bad.field} stands again without a value", True)
            yield from _tried(row.text, _outs(row, parent, [m for m in same if m is not keep]), step)
            return
        raise Ambiguous(f"{bad.field} stands {len(same)} times with different values: keep the right one")


def _same_text(row: _Row, member: Member) -> str:
    return row.source(member.value)


def _outs(row: _Row, parent: Node, members: list[Member]) -> list[Edit]:
    """Edits that take several members out; next to each other they are made one."""
    edits: list[Edit] = []
    for edit in sorted((row.without(parent, member) for member in members), key=lambda edit: edit.start):
        if edits and edit.start <= edits[-1].stop:
            edits[-1] = Edit(edits[-1].start, max(edit.stop, edits[-1].stop), "")
        else:
            edits.append(edit)
    return edits


# ---- Values ----------------------------------------------------------------------------------------------------------


def _of_a_member(bad: BadRow, row: _Row, parent: Node, member: Member) -> Iterator[Candidate]:
    meant = _MEANT.match(bad.hint)
    if meant is not None and not _PRESENT.match(bad.hint):
        why = f"{shown(member.name)} looks like {meant[1]}"
        if bad.reason == Reason.NOT_ALLOWED and member.value.kind is Kind.STRING:
            edit = Edit(member.value.start, member.value.stop, json.dumps(meant[1]))
            why = f"{shown(row.source(member.value))} looks like {meant[1]}"
            certain = _folded(row.source(member.value)) == _folded(meant[1])
            yield from _tried(row.text, [edit], Step(Rule.NEAR_VALUE, why, certain))
        step = Step(Rule.NEAR_NAME, why, _folded(member.name) == _folded(meant[1]))
        yield from _renamed(row, parent, member, meant[1], step)
    if "lower case" in bad.hint:
        lower = member.name.lower()
        step = Step(Rule.NEAR_NAME, f"names are written in lower case: {lower}", True)
        yield from _renamed(row, parent, member, lower, step)
        if member.value.kind is Kind.STRING:
            source = row.source(member.value)
            edit = Edit(member.value.start, member.value.stop, source.lower())
            yield from _tried(row.text, [edit], Step(Rule.NEAR_VALUE, "it is written in lower case", True))
    if bad.reason == Reason.BAD_NAME and not bad.hint:
        name = re.sub(r"[^A-Za-z0-9_{}]+", "_", member.name.strip())
        step = Step(Rule.NAME_CHARACTERS, f"a name has letters, digits and underscores only: {name}", False)
        yield from _renamed(row, parent, member, name, step)
    if bad.reason == Reason.NESTED_VALUE:
        yield from _unnested(row, parent, member)
    if bad.hint.startswith("leave it out"):
        out = row.without(parent, member)
        yield from _tried(row.text, [out], Step(Rule.LEFT_OUT, f"{shown(member.name)} changes nothing here", False))
    yield from _of_a_value(bad, row, member.value)


def _of_a_value(bad: BadRow, row: _Row, node: Node) -> Iterator[Candidate]:
    source = row.source(node)
    where = shown(bad.field)
    if node.kind in (Kind.NUMBER, Kind.STRING) and bad.reason in _TIMES:
        text = source if node.kind is Kind.NUMBER else _decoded(source)
        mended = times.mended(bad, text)
        if mended is not None:
            new, step = mended
            plain = node.kind is Kind.NUMBER and _NUMBER.match(new)
            yield from _tried(row.text, [Edit(node.start, node.stop, new if plain else json.dumps(new))], step)
    if bad.reason == Reason.NUMBER_OUT_OF_RANGE:
        number = node if node.kind is Kind.NUMBER and "string" in bad.hint else None
        if number is not None:
            step = Step(Rule.ADD_QUOTES, f"{where} has more digits than a number may have: as text all are kept", False)
            yield from _tried(row.text, [Edit(node.start, node.stop, f'"{source}"')], step)
        return
    if bad.reason not in (Reason.WRONG_TYPE, Reason.NOT_ALLOWED, Reason.BAD_TIME):
        return
    if node.kind is Kind.NUMBER and "string" in bad.expected:
        certain = not is_placeholder(source)  # 0 may stand for nobody
        step = Step(Rule.ADD_QUOTES, f"{where} is a text: the number's digits in quotes", certain)
        yield from _tried(row.text, [Edit(node.start, node.stop, f'"{source}"')], step)
    if node.kind is Kind.STRING:
        text = _decoded(source).strip()
        if _NUMBER.match(text) or text.lower() in ("true", "false"):
            step = Step(Rule.REMOVE_QUOTES, f"{where} is no text: without quotes", True)
            yield from _tried(
                row.text, [Edit(node.start, node.stop, text if _NUMBER.match(text) else text.lower())], step
            )
        elif text.startswith(("{", "[")):
            step = Step(Rule.OBJECT_IN_TEXT, f"{where} holds JSON as text: the JSON itself", False)
            yield from _tried(row.text, [Edit(node.start, node.stop, text)], step)
    if "array" in bad.expected and node.kind in (Kind.OBJECT, Kind.STRING):
        step = Step(Rule.ARRAY, f"{where} is an array: one of it in [ ]", True)
        yield from _tried(row.text, [Edit(node.start, node.start, "["), Edit(node.stop, node.stop, "]")], step)
    if node.kind is Kind.ARRAY and len(node.items) == 1:
        inner = node.items[0]
        step = Step(Rule.ARRAY, f"{where} is one value: without [ ]", True)
        yield from _tried(row.text, [Edit(node.start, inner.start, ""), Edit(inner.stop, node.stop, "")], step)


def _decoded(source: str) -> str:
    try:
        return str(json.loads(source))
    except ValueError:
        return ""


# ---- Places ----------------------------------------------------------------------------------------------------------


def _unnested(row: _Row, parent: Node, member: Member) -> Iterator[Candidate]:
    """Members of a nested value as members of the row; arrays as one text (what the reasons' hints say)."""
    node, name = member.value, member.name
    if node.kind is Kind.ARRAY:
        text = json.dumps(row.source(node), ensure_ascii=False)
        step = Step(Rule.NESTING, f"{shown(name)} is written as one text", False)
        yield from _tried(row.text, [Edit(node.start, node.stop, text)], step)
        return
    if not node.members:
        step = Step(Rule.NESTING, f"{shown(name)} is empty, which is absent", True)
        yield from _tried(row.text, [row.without(parent, member)], step)
        return
    taken = {m.name for m in parent.members if m is not member}
    bare = _folded(name) in _WRAPPERS
    for prefix in ("", f"{name}_") if bare else (f"{name}_",):
        names = [f"{prefix}{inner.name}" for inner in node.members]
        if len(names) > _MOST or taken & set(names) or len(set(names)) < len(names):
            continue
        edits = [Edit(member.start, node.members[0].start, "")]
        edits += [
            Edit(inner.start, inner.key_stop, json.dumps(new, ensure_ascii=False))
            for inner, new in zip(node.members, names, strict=True)
            if prefix
        ]
        edits.append(Edit(node.members[-1].value.stop, node.stop, ""))
        why = f"the members of {shown(name)} are properties of their own"
        yield from _tried(row.text, edits, Step(Rule.NESTING, why, False))


def _nested_elsewhere(bad: BadRow, row: _Row) -> Iterator[Candidate]:
    """A mandatory member that stands in an object inside the row: all of that object's members are lifted."""
    if "." in bad.field or "[" in bad.field:
        return
    holders = [
        member
        for member in row.root.members[:_MOST]
        if member.value.kind is Kind.OBJECT and any(inner.name == bad.field for inner in member.value.members)
    ]
    if len(holders) > 1:
        names = " and ".join(shown(member.name) for member in holders)
        raise Ambiguous(f"{bad.field} stands in {names}: write the right one beside them")
    for member in holders:
        inner = member.value.members
        taken = {m.name for m in row.root.members if m is not member}
        if taken & {m.name for m in inner}:
            continue
        edits = [Edit(member.start, inner[0].start, ""), Edit(inner[-1].value.stop, member.value.stop, "")]
        why = f"{bad.field} stands inside {shown(member.name)}: its members belong into the row itself"
        yield from _tried(row.text, edits, Step(Rule.NESTING, why, False))


def _moved_into(bad: BadRow, row: _Row, target: str) -> Iterator[Candidate]:
    for parent, member in row.at(bad.field)[:1]:
        source = row.text[member.start : member.value.stop]
        out = row.without(parent, member)
        step = Step(Rule.NESTING, f"{shown(member.name)} belongs into {shown(target)}", True)
        holder = row.object_at(target)
        if holder is not None:
            if any(m.name == member.name for m in holder.members):
                return
            at = holder.members[-1].value.stop if holder.members else holder.start + 1
            new = f",{source}" if holder.members else source
        else:
            folder, _, name = target.rpartition(".")
            outer = row.object_at(folder)
            if outer is None or not outer.members or any(m.name == name for m in outer.members):
                return
            at, new = outer.members[-1].value.stop, f",{json.dumps(name)}:{{{source}}}"
        if out.start < at < out.stop:
            return
        if at == out.stop:  # it is the last: it stays where it is, inside its new place
            new_edit = [Edit(member.start, member.value.stop, new.removeprefix(","))]
            yield from _tried(row.text, new_edit, step)
        else:
            yield from _tried(row.text, [out, Edit(at, at, new)], step)


def _tried(text: str, edits: list[Edit], step: Step) -> Iterator[Candidate]:
    made = edited(text, edits)
    if made != text:
        yield Candidate(made, step)
