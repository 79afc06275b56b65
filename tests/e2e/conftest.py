"""A browser on the platform that the tests share, and pictures of what it saw."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from services.local.platform import Platform

# The machine may be busy with other things: what is right late is right.
expect.set_options(timeout=60_000)

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as Debian packages it, without its own talk to the outside.

    Not for the whole session: playwright keeps an event loop running in this thread while it is open, and no other
    test could start one.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET, timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, platform: Platform) -> Iterator[Page]:
    """A fresh visitor at the front; fails when a page asked any other machine for anything."""
    context = browser.new_context(base_url=platform.settings.front_url, viewport={"width": 1280, "height": 900})
    foreign: list[str] = []
    own = urlsplit(platform.settings.front_url).netloc

    def note(request: object) -> None:
        url = str(getattr(request, "url", ""))
        if url.startswith("http") and urlsplit(url).netloc != own:
            foreign.append(url)

    page = context.new_page()
    page.on("request", note)
    page.set_default_timeout(60_000)
    yield page
    context.close()
    assert foreign == []


@pytest.fixture
def picture(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Save what the whole page looks like, to AIMIC_SCREENSHOTS if that is set."""
    directory = Path(os.environ.get("AIMIC_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    directory.mkdir(parents=True, exist_ok=True)

    def save(name: str) -> None:
        # Streamlit scrolls an inner element, so the window has to be as high as that.
        height = page.evaluate("document.querySelector('[data-testid=stMain]')?.scrollHeight ?? 900")
        page.set_viewport_size({"width": 1280, "height": min(3000, max(900, height))})
        page.wait_for_timeout(1200)
        page.screenshot(path=directory / f"{name}.png")
        page.set_viewport_size({"width": 1280, "height": 900})

    return save
