"""Headless Chromium for the tests that look at pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from harness.model.errors import MissingTool
from stack import tools

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


@contextmanager
def started() -> Iterator[Browser]:
    """The browser. Without it the tests are skipped, but not in CI: there its absence is a failure."""
    try:
        chromium = tools.require("chromium")
    except MissingTool as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has no Chromium: {error}")
        pytest.skip(f"NOT LOOKED AT: pages in a browser. {error}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.path, args=ARGUMENTS, env={**os.environ, **chromium.env}
        )
        yield browser
        browser.close()
