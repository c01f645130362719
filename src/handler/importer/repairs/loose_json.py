"""A row that is nearly JSON → the edits that make it JSON, and where in it everything stands.

Rule: one pass from left to right, by the grammar of RFC 8259; where the text leaves it, the usual mistakes are tried
in a fixed order, and the first that lets the reading go on is noted as an edit. Nothing is added that the row does not
say: what is not there becomes null, which is absent in every dialect, and a row that ends inside a text or behind a
comma was cut short and stays as it is. Whether what comes out is a good row, the dialect's own reader says, not this.
"""

import json
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from importer.repairs.rules import Edit, Rule, Step, edited

DEEPEST: Final = 100  # levels; a row that nests deeper is not mended
_SPACE: Final = " \t\n\r"
_NOTHING_SEEN: Final = frozenset("\ufeff\u200b\u200c\u200d\u2060\x00\x1e")  # 1e: record separator (RFC 7464)
_STRAIGHT: Final = '"'
_SINGLE: Final = frozenset("'`")
_SMART: Final = frozenset("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u2018\u2019\u201a\u2032")
# Characters of a text that are nothing else in any quotes.
_PLAIN: Final = re.compile(r"[^\x00-\x1f\"'`\\\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u2018\u2019\u201a\u2032]*")
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_LOOSE_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(\.[0-9]*)?((?:[eE][+-]?[0-9]+)?)([lL]?)\Z")
_WORD: Final = re.compile(r"[^\s,:{}\[\]\"'`\u201c\u201d()=;]+")
_KEY_AHEAD: Final = re.compile(r"\s*[\"'\u201c\u201d]?[A-Za-z_${][\w $.{}-]*[\"'\u201c\u201d]?\s*(?::|=>)")
_KEY_WITHOUT_OPENING: Final = re.compile(r"[A-Za-z_${][\w $.{}-]*\"\s*:")
_LITERALS: Final = {"true": "true", "false": "false", "null": "null", "none": "null", "nil": "null"}
_NO_NUMBERS: Final = {"nan", "undefined", "infinity", "inf", "#n/a", "n/a"}
_SHELL: Final = re.compile(
    r"(?:new\s+)?(?:ISODate|ObjectId|NumberLong|NumberInt|NumberDecimal|Decimal|UUID|Date|Timestamp)\(\s*"
)
_ESCAPES: Final = frozenset('"\\/bfnrt')
_OCTAL: Final = re.compile(r"(?:\\[0-3][0-7]{2})+")
_HEX: Final = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")
_BRACED: Final = re.compile(r"\\u\{([0-9a-fA-F]{1,6})\}|\\U([0-9a-fA-F]{8})")
_FOUR: Final = re.compile(r"[0-9a-fA-F]{4}")
_COMMENTS: Final = (re.compile(r"/\*.*?\*/", re.DOTALL), re.compile(r"//[^\n]*"), re.compile(r"#[^\n]*"))


class Kind(Enum):
    OBJECT = "object"
    ARRAY = "array"
    STRING = "string"
    NUMBER = "number"
    LITERAL = "literal"


@dataclass(slots=True)
class Node:
    """A value and its place: characters `[start, stop)` of the row's text."""

    kind: Kind
    start: int
    stop: int
    members: "list[Member]" = field(default_factory=list)
    items: "list[Node]" = field(default_factory=list)


@dataclass(slots=True)
class Member:
    """A name with its value; the key's place has its quotes in it."""

    name: str
    start: int
    key_stop: int
    value: Node


@dataclass(slots=True)
class Scan:
    """What the pass made of a text.

    Attributes:
        steps: what was mended, each rule once.
        rows: the values that stand in the text, nearly always one.
        trouble: why it could not be read to its end; "" if it could.
    """

    edits: list[Edit]
    steps: list[Step]
    rows: list[Node]
    trouble: str = ""


class _GivenUp(Exception):
    """No usual mistake explains the text."""


def scan(text: str) -> Scan:
    """Read a row's text, mending what can be mended."""
    scanner = _Scanner(text)
    try:
        rows = scanner.document()
    except _GivenUp as why:
        return Scan([], [], [], str(why))
    return Scan(scanner.edits, list(scanner.steps.values()), rows)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.edits: list[Edit] = []
        self.steps: dict[Rule, Step] = {}

    # -- noting ----------------------------------------------------------------------------------------------------

    def note(self, start: int, stop: int, new: str, rule: Rule, why: str, certain: bool = True) -> None:
        self.edits.append(Edit(start, stop, new))
        known = self.steps.get(rule)
        if known is None or (known.certain and not certain):
            self.steps[rule] = Step(rule, why, certain)

    # -- looking ---------------------------------------------------------------------------------------------------

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def skip(self) -> None:
        """Past blanks; those JSON does not know are replaced, comments taken away."""
        text = self.text
        while self.at < len(text):
            character = text[self.at]
            if character in _SPACE:
                self.at += 1
            elif character in _NOTHING_SEEN:
                rule = Rule.BYTE_ORDER_MARK if character == "\ufeff" else Rule.WHITESPACE
                why = (
                    "a byte order mark stands at the begin of a file only" if rule is Rule.BYTE_ORDER_MARK else _BLANKS
                )
                self.note(self.at, self.at + 1, "", rule, why)
                self.at += 1
            elif character.isspace():
                self.note(self.at, self.at + 1, " ", Rule.WHITESPACE, _BLANKS)
                self.at += 1
            elif character in "/#" and (comment := self._comment()):
                self.note(self.at, comment, "", Rule.COMMENT, "JSON has no comments", text.startswith("/*", self.at))
                self.at = comment
            else:
                return

    def _comment(self) -> int:
        for pattern in _COMMENTS:
            found = pattern.match(self.text, self.at)
            if found is not None:
                # To the end of the row: then a bracket in it would be a bracket no more.
                if not found.group().startswith("/*") and re.search(r"[}\]]\s*\Z", found.group()):
                    raise _GivenUp("what stands behind // or # may be a comment or the rest of the row")
                return found.end()
        return 0

    # -- the row ---------------------------------------------------------------------------------------------------

    def document(self) -> list[Node]:
        self.skip()
        first = self.peek()
        if not first:
            raise _GivenUp("there is nothing in the row")
        if first not in "{[" and _KEY_AHEAD.match(self.text, self.at):
            why = "the row begins with a name: its first { is missing"
            self.note(self.at, self.at, "{", Rule.MISSING_BRACKET, why)
            rows = [self._members(Node(Kind.OBJECT, self.at, self.at), 1)]
        elif first not in "{[":
            raise _GivenUp("the row does not begin as an object does")
        else:
            rows = [self.value(1)]
        while True:
            before = self.at
            self.skip()
            if self.at >= len(self.text):
                return rows
            behind = self.at
            while self.peek() in (",", ";") and self.peek():
                self.at += 1
                self.skip()
            if self.at >= len(self.text):
                why = "only a line break divides rows"
                self._replace(behind, len(self.text.rstrip(_SPACE)), "", Rule.AFTER_THE_ROW, why)
                return rows
            if self.peek() == "{" and rows[-1].kind is Kind.OBJECT:
                why = "two rows stand on one line: each gets its own"
                self._replace(before, self.at, "\n", Rule.TWO_ROWS, why)
                rows.append(self.value(1))
            elif self.peek() and self.peek() in "}])":
                start = behind
                while self.peek() and self.peek() in "}])":
                    self.at += 1
                    self.skip()
                if self.at < len(self.text):
                    raise _GivenUp(f"something follows the row: {self.text[start : start + 20]!r}")
                stop = len(self.text.rstrip(_SPACE))
                self._replace(start, stop, "", Rule.EXTRA_BRACKET, "it closes nothing that is open")
            else:
                raise _GivenUp(f"something follows the row: {self.text[self.at : self.at + 20]!r}")

    def _replace(self, start: int, stop: int, new: str, rule: Rule, why: str) -> None:
        """As `note`, in the place of whatever was noted of these characters before."""
        self.edits = [edit for edit in self.edits if edit.stop <= start or edit.start >= stop]
        self.note(start, stop, new, rule, why)

    def value(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise _GivenUp(f"it nests deeper than {DEEPEST} levels")
        first = self.peek()
        if first == "{":
            self.at += 1
            return self._members(Node(Kind.OBJECT, self.at - 1, 0), depth)
        if first == "[":
            self.at += 1
            return self._items(Node(Kind.ARRAY, self.at - 1, 0), depth)
        if first == _STRAIGHT or first in _SINGLE or first in _SMART:
            return self._string(is_key=False)
        return self._word(depth)

    def _members(self, node: Node, depth: int) -> Node:
        comma = -1  # of the last one that awaits a member
        while True:
            self.skip()
            here = self.peek()
            if here == "}":
                self._trailing(comma)
                self.at += 1
                node.stop = self.at
                return node
            if here == "]" or not here:
                return self._unclosed(node, "}", comma, depth)
            if here == ",":
                self.note(self.at, self.at + 1, "", Rule.DOUBLED_COMMA, "one comma divides two members")
                self.at += 1
                continue
            node.members.append(self._member(depth))
            comma = self._divided(node.members[-1].value.stop, "}", is_object=True)

    def _items(self, node: Node, depth: int) -> Node:
        comma = -1
        while True:
            self.skip()
            here = self.peek()
            if here == "]":
                self._trailing(comma)
                self.at += 1
                node.stop = self.at
                return node
            if here == "}" or not here:
                return self._unclosed(node, "]", comma, depth)
            if here == ",":
                self.note(self.at, self.at + 1, "", Rule.DOUBLED_COMMA, "one comma divides two members")
                self.at += 1
                continue
            node.items.append(self.value(depth + 1))
            comma = self._divided(node.items[-1].stop, "]", is_object=False)

    def _divided(self, stop: int, closing: str, is_object: bool) -> int:
        """Where the comma stands behind a member that ends at `stop`; -1 if none does, and none is missing."""
        self.skip()
        here = self.peek()
        if here == ",":
            self.at += 1
            return self.at - 1
        if here in ("", "}", "]"):
            return -1
        if here == ";":
            self.note(self.at, self.at + 1, ",", Rule.MISSING_COMMA, "members are divided by commas")
            self.at += 1
            return self.at - 1
        if not is_object or _KEY_AHEAD.match(self.text, self.at):
            certain = is_object and here == _STRAIGHT
            self.note(stop, stop, ",", Rule.MISSING_COMMA, "a comma is missing between two members", certain)
            return -1
        raise _GivenUp(f"{self.text[self.at : self.at + 20]!r} stands where a comma or {closing} is due")

    def _trailing(self, comma: int) -> None:
        if comma >= 0:
            self.note(comma, comma + 1, "", Rule.TRAILING_COMMA, "no comma stands behind the last member")

    def _unclosed(self, node: Node, closing: str, comma: int, depth: int) -> Node:
        """The node ends where another is closed, or the row is over."""
        if comma >= 0 and not self.peek():
            raise _GivenUp("the row was cut short: it ends behind a comma")
        self._trailing(comma)
        end = len(self.text.rstrip(_SPACE)) if not self.peek() else self.at
        # One level is a slip; where more are open, or a number may go on, what follows may be missing too.
        certain = bool(self.peek()) or (depth == 1 and self.text[:end].endswith(("}", "]", '"')))
        where = "at the end" if not self.peek() else f"before the {self.peek()}"
        self.note(end, end, closing, Rule.MISSING_BRACKET, f"a {closing} is missing {where}", certain)
        node.stop = self.at
        return node

    def _member(self, depth: int) -> Member:
        start = self.at
        self._letter_before_a_quote()
        first = self.peek()
        if first == _STRAIGHT or first in _SINGLE or first in _SMART:
            self._string(is_key=True)
            name = _text(self._mended(start, self.at))
        else:
            name = self._bare_key()
        key_stop = self.at
        self.skip()
        if self.peek() == ":":
            self.at += 1
        elif self.text.startswith(("=>", ":=", "="), self.at):
            size = 2 if self.text.startswith(("=>", ":="), self.at) else 1
            self.note(self.at, self.at + size, ":", Rule.COLON, "a colon stands between a name and its value")
            self.at += size
        else:
            raise _GivenUp(f"no colon follows the name {name[:20]!r}")
        after = self.at
        self.skip()
        if self.peek() in (",", "}"):
            why = "a name without a value has none: null is absent"
            self.note(after, after, "null", Rule.MISSING_VALUE, why, certain=False)
            return Member(name, start, key_stop, Node(Kind.LITERAL, after, after))
        if not self.peek():
            raise _GivenUp("the row was cut short: its last name has no value")
        return Member(name, start, key_stop, self.value(depth + 1))

    def _letter_before_a_quote(self) -> bool:
        found = re.match(r"[uUbB]['\"]", self.text[self.at : self.at + 2]) is not None
        if found:
            self.note(self.at, self.at + 1, "", Rule.SINGLE_QUOTES, "letters before a quote are Python's")
            self.at += 1
        return found

    def _bare_key(self) -> str:
        found = re.compile(r"[\w$@.{}-]+(?: [\w$@.-]+)*").match(self.text, self.at)
        if found is None:
            raise _GivenUp(f"{self.text[self.at : self.at + 20]!r} stands where a name is due")
        start, stop = found.span()
        if self.text.startswith('"', stop):
            self.note(start, start, '"', Rule.MISSING_QUOTE, "the quote before a name is missing", certain=False)
            stop += 1
        else:
            why = "names stand in double quotes"
            self.note(start, start, '"', Rule.UNQUOTED_KEY, why)
            self.note(stop, stop, '"', Rule.UNQUOTED_KEY, why)
        self.at = stop
        return found.group()

    def _mended(self, start: int, stop: int) -> str:
        inside = [
            Edit(e.start - start, e.stop - start, e.new) for e in self.edits if start <= e.start and e.stop <= stop
        ]
        return edited(self.text[start:stop], inside)

    # -- text ------------------------------------------------------------------------------------------------------

    def _string(self, is_key: bool) -> Node:
        start = self.at
        opening = self.peek()
        if opening == _STRAIGHT:
            return self._straight(start, is_key)
        closers = _SINGLE if opening in _SINGLE else _SMART | {_STRAIGHT}
        if opening in _SINGLE:
            closers = frozenset(opening)
        rule = Rule.SINGLE_QUOTES if opening in _SINGLE else Rule.SMART_QUOTES
        why = "text stands in double quotes"
        self.note(start, start + 1, '"', rule, why)
        self.at += 1
        while self.at < len(self.text):
            self.at = _PLAIN.match(self.text, self.at).end()  # type: ignore[union-attr]  # matches the empty text too
            here = self.peek()
            if not here:
                break
            if here == "\\":
                if self.text[self.at + 1 : self.at + 2] in closers - {_STRAIGHT} and rule is Rule.SINGLE_QUOTES:
                    self.note(self.at, self.at + 1, "", rule, why)
                    self.at += 2
                else:
                    self._escape()
            elif here in closers and self._ends_here(self.at + 1, is_key):
                self.note(self.at, self.at + 1, '"', rule, why)
                self.at += 1
                return Node(Kind.STRING, start, self.at)
            elif here in closers and rule is Rule.SINGLE_QUOTES:
                self.steps[rule] = Step(rule, why, certain=False)  # an apostrophe, or the end of a text?
                self.at += 1
            elif here == _STRAIGHT:
                self.note(self.at, self.at + 1, '\\"', rule, why)
                self.at += 1
            else:
                self._character(here)
        raise _GivenUp("the row was cut short inside a text, or a closing quote is missing")

    def _straight(self, start: int, is_key: bool) -> Node:
        self.at += 1
        while self.at < len(self.text):
            self.at = _PLAIN.match(self.text, self.at).end()  # type: ignore[union-attr]  # matches the empty text too
            here = self.peek()
            if not here:
                break
            if here == "\\":
                self._escape()
            elif here != _STRAIGHT:
                self._character(here)
            elif self._ends_here(self.at + 1, is_key):
                self.at += 1
                return Node(Kind.STRING, start, self.at)
            else:
                missing = self._missing_before(start, is_key)
                if missing is not None:
                    return missing
                why = "a quote inside a text is escaped"
                self.note(self.at, self.at + 1, '\\"', Rule.INNER_QUOTES, why, certain=False)
                self.at += 1
        return self._open_to_the_end(start, is_key)

    def _ends_here(self, at: int, is_key: bool) -> bool:
        """Whether what follows a quote is what follows a text."""
        while at < len(self.text) and (self.text[at].isspace() or self.text[at] in _NOTHING_SEEN):
            at += 1
        rest = self.text[at : at + 2]
        if is_key:
            return rest[:1] in (":", "=")
        if rest[:1] in ("", ",", "}", "]", ";", ")") or rest in ("//", "/*") or rest[:1] == "#":
            return True
        return self.text[at : at + 1] in (_STRAIGHT, "'") and bool(_KEY_AHEAD.match(self.text, at))

    def _missing_before(self, start: int, is_key: bool) -> Node | None:
        """A text whose closing quote is missing: the quote found is the one that opens the next name."""
        comma = self.text.rfind(",", start, self.at)
        between = self.text[comma + 1 : self.at]
        if is_key or comma < 0 or between.strip() or not _KEY_WITHOUT_OPENING.match(self.text, self.at + 1):
            return None
        self.note(comma, comma, '"', Rule.MISSING_QUOTE, "the quote behind a text is missing", certain=False)
        self.at = comma
        return Node(Kind.STRING, start, comma)

    def _open_to_the_end(self, start: int, is_key: bool) -> Node:
        """A text that is never closed: where brackets end the row, the quote is missing before them."""
        body = self.text.rstrip(_SPACE)
        stop = len(body.rstrip("}]"))
        if is_key or stop == len(body) or stop <= start:
            raise _GivenUp("the row was cut short inside a text")
        self.edits = [edit for edit in self.edits if edit.stop <= stop]
        self.note(stop, stop, '"', Rule.MISSING_QUOTE, "the last quote is missing", certain=False)
        self.at = stop
        return Node(Kind.STRING, start, stop)

    def _character(self, here: str) -> None:
        if here < " ":
            why = "control characters in text are escaped"
            self.note(self.at, self.at + 1, json.dumps(here)[1:-1], Rule.CONTROL_CHARACTER, why)
        self.at += 1

    def _escape(self) -> None:
        text, at = self.text, self.at
        following = text[at + 1 : at + 2]
        if following in _ESCAPES and following:
            self.at += 2
            return
        if following == "u" and _FOUR.match(text, at + 2):
            self.at += 6
            return
        for pattern, base in ((_HEX, 16), (_OCTAL, 8)):
            found = pattern.match(text, at)
            if found is not None:
                digits = found.group().replace("x", "").split("\\")[1:]
                codes = bytes(int(digit, base) for digit in digits)
                new, certain = _bytes_meant(codes)
                why = f"escapes of base {base} are not JSON: the character itself"
                self.note(at, found.end(), new, Rule.ESCAPE, why, certain)
                self.at = found.end()
                return
        braced = _BRACED.match(text, at)
        if braced is not None:
            code = int(braced.group(1) or braced.group(2), 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise _GivenUp(f"there is no character {braced.group()}")
            self.note(at, braced.end(), json.dumps(chr(code))[1:-1], Rule.ESCAPE, "JSON escapes by \\u and four digits")
            self.at = braced.end()
            return
        if following in ("'", "`"):
            self.note(at, at + 1, "", Rule.ESCAPE, f"JSON does not escape {following}")
            self.at += 2
            return
        if following in ("0", "v", "a", "e"):
            escape = {"0": "\\u0000", "v": "\\u000b", "a": "\\u0007", "e": "\\u001b"}[following]
            self.note(at, at + 2, escape, Rule.ESCAPE, f"JSON has no \\{following}", certain=False)
            self.at += 2
            return
        if not following:
            raise _GivenUp("the row was cut short inside a text")
        self.note(at, at, "\\", Rule.ESCAPE, "a backslash that escapes nothing is written twice", certain=False)
        self.at += 1

    # -- words -----------------------------------------------------------------------------------------------------

    def _word(self, depth: int) -> Node:
        text, start = self.text, self.at
        shell = _SHELL.match(text, start)
        if shell is not None:
            return self._shell_value(shell.end(), depth)
        if self._letter_before_a_quote():
            node = self._string(is_key=False)
            return Node(Kind.STRING, start, node.stop)
        found = _WORD.match(text, start)
        if found is None:
            raise _GivenUp(f"{text[start : start + 20]!r} stands where a value is due")
        word, stop = found.group(), found.end()
        self.at = stop
        if _JSON_NUMBER.match(word):
            return Node(Kind.NUMBER, start, stop)
        if word in ("true", "false", "null"):
            return Node(Kind.LITERAL, start, stop)
        if not text.startswith('"', stop) and self._ends_here(stop, is_key=False):
            folded = word.lower()
            if folded in _LITERALS:
                self.note(start, stop, _LITERALS[folded], Rule.LITERAL, "JSON writes true, false and null")
                return Node(Kind.LITERAL, start, stop)
            if folded.lstrip("+-") in _NO_NUMBERS:
                certain = "inf" not in folded
                why = "JSON has no NaN, Infinity or undefined: null is absent"
                self.note(start, stop, "null", Rule.NOT_A_NUMBER, why, certain)
                return Node(Kind.LITERAL, start, stop)
            if (number := _as_number(word)) is not None:
                self.note(start, stop, number, Rule.NUMBER, "the same number as JSON writes it")
                return Node(Kind.NUMBER, start, stop)
        return self._bare_text(start)

    def _bare_text(self, start: int) -> Node:
        found = re.compile(r"[^,{}\[\]\"'\\\x00-\x1f]*").match(self.text, start)
        assert found is not None  # it matches the empty text too
        text = found.group().rstrip()
        stop = start + len(text)
        if self.text.startswith('"', found.end()) and self._ends_here(found.end() + 1, is_key=False):
            self.note(start, start, '"', Rule.MISSING_QUOTE, "the quote before a text is missing", certain=False)
            self.at = found.end() + 1
            return Node(Kind.STRING, start, self.at)
        if not text or not self._ends_here(stop, is_key=False) or re.search(r":\s|\A[=(]", text):
            raise _GivenUp(f"{self.text[start : start + 20]!r} stands where a value is due")
        why = "text stands in double quotes"
        self.note(start, start, '"', Rule.UNQUOTED_TEXT, why, certain=False)
        self.note(stop, stop, '"', Rule.UNQUOTED_TEXT, why, certain=False)
        self.at = stop
        return Node(Kind.STRING, start, stop)

    def _shell_value(self, inner: int, depth: int) -> Node:
        start = self.at
        self.at = inner
        node = self.value(depth + 1)
        inner_stop = self.at
        self.skip()
        if self.peek() != ")" or node.kind not in (Kind.STRING, Kind.NUMBER):
            raise _GivenUp(f"{self.text[start : start + 20]!r} is no value")
        why = "a shell shows what kind a value has: JSON has the value alone"
        self.note(start, inner, "", Rule.SHELL_VALUE, why)
        self.note(inner_stop, self.at + 1, "", Rule.SHELL_VALUE, why)
        self.at += 1
        return Node(node.kind, start, self.at)


_BLANKS: Final = "JSON knows blank, tab, CR and LF between its words"


def _text(quoted: str) -> str:
    """What a JSON string says; itself where it is none."""
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        return quoted.strip('"')


def _bytes_meant(codes: bytes) -> tuple[str, bool]:
    """(JSON's way to write what escaped bytes stand for, whether they can stand for nothing else)."""
    try:
        meant = codes.decode()
    except UnicodeDecodeError:
        # An old file's byte; those that Windows-1252 does not have are controls.
        return json.dumps("".join(map(_by_windows, codes)), ensure_ascii=False)[1:-1], False
    return json.dumps(meant, ensure_ascii=False)[1:-1], codes.isascii()


def _by_windows(code: int) -> str:
    try:
        return bytes([code]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(code)


def _as_number(word: str) -> str | None:
    """A number as JSON writes it, digit by digit the same; None for what is none or may be a text (007)."""
    found = _LOOSE_NUMBER.match(word)
    if found is None or not any(map(str.isdigit, word)):
        return None
    sign, whole, fraction, exponent, _ = found.groups()
    if (len(whole) > 1 and whole.startswith("0")) or not (whole or (fraction and len(fraction) > 1)):
        return None
    made = f"{'-' if sign == '-' else ''}{whole or '0'}{fraction if fraction and len(fraction) > 1 else ''}{exponent}"
    return made if _JSON_NUMBER.match(made) else None
