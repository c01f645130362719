"""The JSON documents of docs/foreign-buckets.md, by the name in the comment above each: what is tested is what is read.

documented("role", FOREIGN_BUCKET="theirs")
"""

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "foreign-buckets.md"
_NAMED_JSON = re.compile(r"^<!-- ([a-z-]+) -->\n```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def names() -> list[str]:
    """Of all documents, in the page's order."""
    return [name for name, _ in _NAMED_JSON.findall(PAGE.read_text(encoding="utf-8"))]


def documented(name: str, **filled_in: str) -> Any:
    """One document, with what a person fills in."""
    text = dict(_NAMED_JSON.findall(PAGE.read_text(encoding="utf-8")))[name]
    for placeholder, value in filled_in.items():
        text = text.replace(placeholder, value)
    return json.loads(text)
