"""The next batch, read while the replies to the last one are on their way.

A batch is durable before the next one is written: that stays. But a destination needs its time to say so, a stream
some 30 ms a call, in which nothing would be done. One batch is read ahead and no more, for memory's sake.
"""

from collections.abc import Iterable, Iterator

from importer.bad_rows import ObjectProblem
from importer.batches import Batch
from importer.model import Fenced, Unavailable


class ReadAhead:
    """Iterates over batches; `look` reads the next one now, and keeps it."""

    def __init__(self) -> None:
        self._batches: Iterator[Batch] = iter(())
        self._next: Batch | None = None
        self._failure: Exception | None = None

    def of(self, batches: Iterable[Batch]) -> "ReadAhead":
        """The same, over these."""
        self._batches = iter(batches)
        return self

    def look(self) -> None:
        """Read the next batch, if that is not done yet. What goes wrong is raised when its turn comes: what was read
        before it is still being written."""
        if self._next is None and self._failure is None:
            try:
                self._next = next(self._batches, None)
            except (ObjectProblem, Unavailable, Fenced) as failure:
                self._failure = failure

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self.look()
            if self._failure is not None:
                raise self._failure
            if self._next is None:
                return
            yield self._taken()

    def _taken(self) -> Batch:
        """The next batch, kept by nobody but who asks for it: it takes megabytes, and the one after is read next."""
        batch, self._next = self._next, None
        assert batch is not None
        return batch
