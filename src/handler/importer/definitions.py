"""An import definition: how the files of one import are read. Pure; pinned in each execution at its start.

The defaults accept whatever can be read in one way only; `strict` holds the rows to the vendor's own words
(docs/formats.md lists both). Stored as a plain map, so an execution keeps the definition it began with.
"""

import re
import unicodedata
from dataclasses import asdict, dataclass, fields
from typing import Final

from importer.model import Misconfigured, Value

NDJSON: Final = "APPLICATION_X_NDJSON"  # D6
TEXT_CSV: Final = "TEXT_CSV"
MIME_TYPES: Final = (NDJSON, TEXT_CSV)
DATE_FORMATS: Final = ("dd/mm/yyyy", "mm/dd/yyyy")
PRIORITIES: Final = ("HIGH", "MEDIUM", "LOW")  # D3
IDENTITIES: Final = ("row", "vendor", "address")
BY_PROPERTY: Final = "property:"  # … and the property's name
# What a definition may say of the sinks its files go to → names in `sinks.SINKS`, in the order they are written to.
SINK_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "dynamodb": ("dynamodb",),
    "firehose": ("firehose",),
    "both": ("dynamodb", "firehose"),
}
LATEST_TIME_MS: Final = 9_999_999_999_999  # 13 digits: the sort key's width (N8); 2286-11-20
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
LONGEST_ID: Final = 200  # characters
LONGEST_TEXT: Final = 1_000  # characters of a setting: each execution keeps them, and its item has 400 KB at most
MOST_FILES_PER_RUN: Final = 1_000
LONGEST_RUN_SECONDS: Final = 840  # of 900 that its function has: a minute for looking round before, and for ending
_COMPRESSED: Final = (".gz", ".zst")
_ID: Final = re.compile(r"[^/\x00-\x1f\x7f\ud800-\udfff]{1,200}")  # a folder's name


@dataclass(frozen=True, slots=True)
class Definition:
    """Settings of an import.

    Attributes:
        id: first folder below `imports/` that selects it; "default" applies to every other key.
        mime_type: how rows stand in its files: a JSON object a line, or CSV.
        strict: the vendor's own limits and names instead of ours.
        date_format: how `03/04/2012` is to be read; "" refuses dates that can be read two ways.
        session_scope: accept `{s}name` as a session property (C21: not in the vendor's documents).
        earliest_ms, latest_ms: accepted event times, both inclusive; with strict, the vendor's own limits narrow them.
        format: the dialect of its rows; "" recognises it from the rows, row by row where they differ.
        document_type: what its rows are, where the dialect has several kinds (D5); "" tells by their shape.
        encoding: of its files; there is one only.
        priority: whose parts go first where many wait (D3).
        base_file_name: `accounts.json` makes it a recurring import, whose series is `accounts*.json` (K22).
        files_per_run: how many files of the series one run takes up (K24).
        run_seconds: for how long one run works at them; the rest is the next run's (K25).
        identity: what makes two events one: all the bytes of their row ("row"), the vendor's own rule ("vendor"), the
            value of a property ("property:<name>"), or only being read twice from one place ("address").
        atomic: nothing of a file is stored unless every row of it is good (W15).
        numbers_in_strings: "123" is the number 123 (K11).
        max_bad_rows: more of them end an import FAILED; 0 is no limit.
        sinks: where its events go; "" is wherever those of the stack go.
    """

    id: str = "default"
    name: str = "default"
    mime_type: str = NDJSON
    strict: bool = False
    date_format: str = ""
    session_scope: bool = False
    earliest_ms: int = 0
    latest_ms: int = LATEST_TIME_MS
    format: str = ""
    document_type: str = ""
    encoding: str = "utf-8"
    priority: str = "MEDIUM"
    base_file_name: str = ""
    files_per_run: int = 1
    run_seconds: int = 300
    identity: str = "row"
    atomic: bool = False
    numbers_in_strings: bool = False
    max_bad_rows: int = 0
    sinks: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise Misconfigured(
                f"id {self.id!r}: the name of a folder, 1 to 200 characters without slashes and controls"
            )
        if self.id in (".", ".."):  # clients take them out of paths
            raise Misconfigured(f"id {self.id!r}: choose another, since it stands for a folder in every path")
        for setting in ("name", "identity", "base_file_name"):
            if len(getattr(self, setting)) > LONGEST_TEXT:
                raise Misconfigured(f"{setting}: choose a shorter one, of {LONGEST_TEXT:,} characters at most")
        if self.mime_type not in MIME_TYPES:
            raise Misconfigured(f"mime_type {self.mime_type!r}: choose one of {', '.join(MIME_TYPES)}")
        if self.date_format and self.date_format not in DATE_FORMATS:
            raise Misconfigured(
                f"date_format {self.date_format!r}: choose one of {', '.join(DATE_FORMATS)}, or leave it empty"
            )
        if not 0 <= self.earliest_ms <= self.latest_ms <= LATEST_TIME_MS:
            raise Misconfigured(
                f"time window [{self.earliest_ms}, {self.latest_ms}]: both ends lie in 0…{LATEST_TIME_MS} ms, in order"
            )
        if self.encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
            raise Misconfigured(
                f"encoding {self.encoding!r}: choose utf-8. Other files are converted before they are dropped: "
                f"`iconv -f {self.encoding} -t UTF-8 FILE`"
            )
        if self.priority not in PRIORITIES:
            raise Misconfigured(f"priority {self.priority!r}: choose one of {', '.join(PRIORITIES)}")
        if self.identity == BY_PROPERTY:
            raise Misconfigured("identity 'property:': name the property, as in property:order_id")
        if self.identity not in IDENTITIES and not self.identity.startswith(BY_PROPERTY):
            raise Misconfigured(
                f"identity {self.identity!r}: choose one of {', '.join(IDENTITIES)}, or property:<name>"
            )
        if self.max_bad_rows < 0:
            raise Misconfigured(f"max_bad_rows {self.max_bad_rows}: choose 0 (no limit) or a number of rows")
        if self.sinks and self.sinks not in SINK_CHOICES:
            raise Misconfigured(
                f"sinks {self.sinks!r}: choose one of {', '.join(SINK_CHOICES)}, or leave it empty for the stack's own"
            )
        if self.base_file_name and ("/" in self.base_file_name or "*" in self.base_file_name):
            raise Misconfigured(
                f"base_file_name {self.base_file_name!r}: a file's name without folder and `*`; accounts.json stands "
                "for accounts*.json"
            )
        for setting, most in (("files_per_run", MOST_FILES_PER_RUN), ("run_seconds", LONGEST_RUN_SECONDS)):
            if not 1 <= getattr(self, setting) <= most:
                raise Misconfigured(f"{setting} {getattr(self, setting)}: choose 1 to {most}")

    @classmethod
    def of(cls, stored: dict[str, Value]) -> "Definition":
        """The definition a stored map describes.

        Raises:
            Misconfigured: an unknown field or a value that is not allowed; says which are.
        """
        known = {f.name: f for f in fields(cls)}
        unknown = sorted(set(stored) - set(known))
        if unknown:
            raise Misconfigured(f"unknown setting {unknown[0]!r}: choose from {', '.join(known)}")
        for name, value in stored.items():
            wanted = type(known[name].default)
            if type(value) is not wanted:
                raise Misconfigured(f"{name}: expected {wanted.__name__}, found {type(value).__name__}")
        return cls(**stored)  # type: ignore[arg-type]  # checked just above

    @classmethod
    def named(cls, import_id: str, stored: Value) -> "Definition":
        """The definition stored under an id, which is its own whatever it says.

        Raises:
            Misconfigured: as `of`, with the import's id.
        """
        try:
            if not isinstance(stored, dict):
                raise Misconfigured("the attribute `definition` must be a map")
            return cls.of({**stored, "id": import_id})
        except Misconfigured as problem:
            raise Misconfigured(f"import definition {import_id!r}: {problem}") from None

    @property
    def is_recurring(self) -> bool:
        """Whether it has a series of files, which wait for the schedule instead of being imported when dropped."""
        return bool(self.base_file_name)

    def has_in_series(self, key: str) -> bool:
        """Whether a file in its folder, or in a folder below that, belongs to the series.

        Rule: only the file's own name is looked at, as `accounts*.json`, capital letters apart from small ones; a
        compressed file belongs to it as what is in it would. A base name that itself ends in .gz or .zst has compressed
        files only.
        """
        if not self.base_file_name:
            return False
        name = key.rpartition("/")[2]
        first, last = self.series
        if not last.endswith(_COMPRESSED):
            name = next((name.removesuffix(suffix) for suffix in _COMPRESSED if name.endswith(suffix)), name)
        return len(name) >= len(first) + len(last) and name.startswith(first) and name.endswith(last)

    @property
    def series(self) -> tuple[str, str]:
        """What names of the series begin and end with: what stands before `*` and behind it."""
        packed = next((suffix for suffix in _COMPRESSED if self.base_file_name.endswith(suffix)), "")
        first, dot, last = self.base_file_name.removesuffix(packed).rpartition(".")
        return (first, f".{last}{packed}") if dot else (last, packed)

    @property
    def pattern(self) -> str:
        """The series as a person writes it: `accounts*.json`."""
        return "*".join(self.series)

    @property
    def ranked(self) -> bool:
        """Whether two rows that differ may be one event, of which the higher ranked is kept."""
        return self.identity == "vendor" or self.identity.startswith(BY_PROPERTY)

    def as_stored(self) -> dict[str, Value]:
        return asdict(self)


DEFAULT: Final = Definition()


def folder_named(name: str) -> str:
    """An id made of what people call an import: `The shop` → `the-shop`; "" where nothing of it is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:60].strip("-")


@dataclass(frozen=True, slots=True)
class StoredDefinition:
    """An import definition as it was found in the store; whether it is one that can be used, `Definition.named` says.

    Attributes:
        definition: as stored; also what the next change of it is conditional on.
        created_ms, changed_ms: None where it was written by hand, past the command.
    """

    id: str
    definition: Value
    created_ms: int | None
    changed_ms: int | None
