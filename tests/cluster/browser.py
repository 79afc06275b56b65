"""A person's browser at the edge."""

from pathlib import Path

from playwright.sync_api import expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
PATIENCE_MS = 60_000


def look(address: str, key: str, dataset: str, picture: Path | None) -> None:
    """Open the pages with the key; a data set has to be shown, for which the page's websocket has to work.

    The certificate is of an authority that this browser does not know: programs prove it elsewhere.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=2 * PATIENCE_MS
        )
        context = browser.new_context(
            base_url=address,
            ignore_https_errors=True,
            http_credentials={"username": "anybody", "password": key},
            viewport={"width": 1280, "height": 900},
        )
        page = context.new_page()
        page.goto("/", timeout=PATIENCE_MS)
        expect(page.get_by_text(dataset).first).to_be_visible(timeout=PATIENCE_MS)
        if picture is not None:
            page.screenshot(path=picture)
        browser.close()
