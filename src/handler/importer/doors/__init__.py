"""Doors: other ways in than a file under `imports/`. Each ends in the same engine.

dropped_previews   a file under `previews/` → what an import would do with it
"""
