"""11 · Doors: how a file comes in otherwise than by a notification, each ending in the same `start`; and what goes out
when an import has ended."""
