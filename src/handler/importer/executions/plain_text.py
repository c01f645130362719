"""The plain text of an object: opened by what it is, read from any offset, hashed on the way."""

import hashlib
from collections.abc import Callable, Iterator

from importer.compression import opened, peeked
from importer.executions.ports import Objects
from importer.layouts import Layout, layout_of
from importer.lines import HEAD_BYTES
from importer.model import S3Object


class PlainText:
    """An object's plain text. Reading begins with the first; whatever is asked later continues or begins anew.

    Args:
        breathe: called with every chunk that comes from the wire, so that a lease outlives a long way without a line.

    Raises:
        ObjectProblem: while it is read; see `Objects.read` and `compression.opened`.
    """

    def __init__(self, objects: Objects, source: S3Object, breathe: Callable[[], None] = lambda: None) -> None:
        self._objects = objects
        self._source = source
        self._breathe = breathe
        self._hash = hashlib.sha256()
        self._hashed = 0
        compression, text = opened(self._hashing())
        self._is_compressed = bool(compression)
        head, self._text = peeked(text, HEAD_BYTES)
        self._head = head[:HEAD_BYTES]
        self._at = 0  # of `_text`, with `_rest` before it
        self._rest = b""

    def layout(self, mime_type: str) -> Layout:
        """How its rows stand; see `layouts.layout_of`."""
        return layout_of(mime_type, self._head)

    def read(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of `[start, stop)`. Compressed text knows no places: it is inflated up to there (D6)."""
        if not self._is_compressed and not 0 <= start - self._at <= HEAD_BYTES:
            yield from self._breathing(self._objects.read(self._source, start, stop))
            return
        if self._at > start:
            _, self._text = opened(self._breathing(self._objects.read(self._source, 0)))
            self._at, self._rest = 0, b""
        while stop is None or self._at < stop:
            chunk, self._rest = self._rest or next(self._text, None), b""
            if chunk is None:
                return
            begin = self._at
            if stop is not None and begin + len(chunk) > stop:
                chunk, self._rest = chunk[: stop - begin], chunk[stop - begin :]
            self._at += len(chunk)
            if start < self._at:
                yield chunk[max(start - begin, 0) :]

    def sha256(self) -> str | None:
        """Of the stored bytes, hexadecimal; None if they were not all read in one go."""
        return self._hash.hexdigest() if self._hashed == self._source.size_bytes else None

    def _hashing(self) -> Iterator[bytes]:
        for chunk in self._breathing(self._objects.read(self._source, 0)):
            self._hash.update(chunk)
            self._hashed += len(chunk)
            yield chunk

    def _breathing(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._breathe()
            yield chunk
