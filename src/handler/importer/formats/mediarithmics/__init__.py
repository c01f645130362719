"""mediarithmics document imports: one command a row, of the kind its import's document_type says (D1–D33).

`kinds` tells what a row is, `identifiers` who it is about; each other file reads rows of one kind, or writes them.
`strict` asks for times as numbers, ids and keys in the vendor's forms, and no placeholders for ids.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from importer.bad_rows import FileReason, ObjectProblem
from importer.definitions import NDJSON, TEXT_CSV, Definition
from importer.formats.mediarithmics import activities, choices, identifiers, kinds, people, profiles, segments, writing
from importer.formats.mediarithmics.objects import Fields, Terms
from importer.formats.reading import Reading, Written
from importer.model import Event, Row

NAME: Final = activities.FORMAT
READERS: Final[Mapping[str, Callable[[Row, bytes, int, Terms], Reading]]] = {
    kinds.ACTIVITY: activities.reading,
    kinds.SEGMENT: segments.reading,
    kinds.PROFILE: profiles.reading,
    kinds.CHOICE: choices.reading,
    kinds.ASSOCIATION: people.association,
    kinds.DISSOCIATION: people.dissociation,
    kinds.IDENTIFIERS_DELETION: people.identifier_deletion,
    kinds.POINTS_DELETION: people.person_deletion,
    kinds.DEVICE_DELETION: people.device_deletion,
    kinds.DEVICES_DELETION: people.device_deletion,
}
# D6: only segments come as CSV. So may rows of an import that does not say what they are: they can be nothing else.
DOCUMENTS: Mapping[str, tuple[str, ...]] = {
    kind: (NDJSON, TEXT_CSV) if kind in ("", kinds.SEGMENT) else (NDJSON,) for kind in ("", *READERS)
}
HAS_VENDOR_KEY: Final = True
claims = kinds.claims


def refuse_name(base_name: str, mime_type: str) -> None:
    """Any name is taken."""


def refuse_columns(columns: Sequence[str], strict: bool) -> None:
    """A CSV of segments says what is done, to whom, and in which segment (D24)."""
    named: Row = dict.fromkeys(columns)
    accounts = [name for name in identifiers.IN_COMMAND if name != "compartment_id"]
    fields = Fields(named, (*identifiers.IN_COMMAND, *segments.SEGMENTS), Terms.of(Definition(), 0))
    for wanted in (["operation"], accounts, segments.SEGMENTS):
        if not any(name in named for name in wanted):
            near = fields.near(*wanted)
            raise ObjectProblem(
                FileReason.CSV_HEADER_MISSING,
                "the first line of a CSV of segments names its columns: operation, one of "
                f"{', '.join(accounts)}, and {' or '.join(segments.SEGMENTS)}; {' or '.join(wanted)} is missing"
                f"{f' ({near})' if near else ''}. Mend it and drop it again",
            )


def evidence(row: Row) -> Sequence[str]:
    """See `Format`."""
    return list(kinds.evidence(row))


def vendor_key(event: Event, index: int) -> str | None:
    """The activity's `$unique_key`, which one that was sent without has too: made of its bytes, as the row's id is."""
    key = (event.session_properties or {}).get(activities.UNIQUE_KEY)
    return f"{key}\0{index}" if isinstance(key, str) else None


def written(reading: Reading) -> Written:
    """Activities, segments, profiles, choices and associations; which erasure it is no row can say by itself."""
    return writing.written(reading)


def reader(definition: Definition, now_ms: int) -> "MediarithmicsReader":
    """The reader for an execution created at `now_ms`."""
    return MediarithmicsReader(definition, now_ms)


class MediarithmicsReader:
    """Callable: (row, row text, address) → Reading."""

    def __init__(self, definition: Definition, now_ms: int) -> None:
        self._document_type = definition.document_type
        self._terms = Terms.of(definition, now_ms)

    def __call__(self, row: Row, text: bytes, address: int) -> Reading:
        kind = kinds.kind_of(row, self._document_type, self._terms)
        return READERS[kind](row, text, address, self._terms)
