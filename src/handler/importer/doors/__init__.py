"""11 · Doors: how a file comes in otherwise than by a notification. Each ends in the same `start`."""
