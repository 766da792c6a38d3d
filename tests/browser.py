"""An installed Chromium for tests that look at pages; they are skipped, with the reason, where there is none."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Opened:
    """A page in the browser, with what it said and asked for.

    Attributes:
        page: Playwright's page.
        complaints: Errors and warnings of the console, and uncaught exceptions.
        requests: Addresses that were asked for, data URIs left out.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = next(filter(None, map(shutil.which, NAMES)), str(own) if own.is_file() else None)
        if found is None:
            pytest.skip("there is no Chromium: install one, or type `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def chromium_page(_chromium) -> Iterator[Callable[..., Opened]]:
    """Returns a function that opens an address, e.g. `file.as_uri()`, in a context of its own.

    Its keyword arguments are those of playwright's `new_context`: `viewport`, `color_scheme`, `java_script_enabled`.
    """
    with ExitStack() as stack:

        def open_page(address: str, **context: Any) -> Opened:
            opened = Opened(stack.enter_context(_chromium.new_context(**context)).new_page())

            def note(request: Any) -> None:
                if not request.url.startswith("data:"):
                    opened.requests.append(request.url)

            def hear(message: Any) -> None:
                if message.type in ("error", "warning"):
                    opened.complaints.append(message.text)

            opened.page.set_default_timeout(10_000)
            opened.page.on("request", note)
            opened.page.on("console", hear)
            opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
            opened.page.goto(address, wait_until="domcontentloaded")
            return opened

        yield open_page
