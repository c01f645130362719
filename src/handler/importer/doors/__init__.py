"""The other doors. Each ends in the same `start` as a dropped file, so that everything proven for one holds."""
