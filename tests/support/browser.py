"""A headless Chromium for tests that look at pages.

There must be one: a page that nobody looked at must not look like one that passed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def path() -> str:
    """The browser CHROMIUM names, or the one that is installed."""
    named = os.environ.get("CHROMIUM")
    found = next(filter(None, map(shutil.which, [named] if named else NAMES)), None)
    if found is None:
        pytest.fail("no Chromium here: `scripts/install-browser`, or CHROMIUM=/path/to/chromium", pytrace=False)
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root its sandbox cannot be had; the pages are ours, and load nothing.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        launched = playwright.chromium.launch(executable_path=path(), args=arguments)
        try:
            yield launched
        finally:
            launched.close()
