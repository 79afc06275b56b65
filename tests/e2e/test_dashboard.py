"""A biologist's first hour in a real browser: upload, train, classify."""

import csv
import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from services.local.demo.cells import draw_set
from services.local.platform import Platform
from services.local.settings import LocalSettings

LONG = 420_000
"""Milliseconds for a tiny training on a machine that does other things too."""

HOSTILE = "*a* $x$ [b](c) :red[d] :smile: _e_"

Picture = Callable[[str], None]


@pytest.fixture(scope="module")
def platform(
    local_settings: Callable[..., LocalSettings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A platform that nobody has used yet, as a person meets it in the first hour."""
    with Platform(local_settings(tmp_path_factory.mktemp("home")), quiet=True) as running:
        yield running


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn cells, a folder per class."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_set(folder, patients=4, per_kind=4, side=48)
    (folder / "truth.csv").unlink()
    return folder


@pytest.fixture(scope="module")
def archive(drawn: Path) -> bytes:
    """Those cells as a zip, with a file in it that is no image."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as files:
        for path in sorted(drawn.rglob("*.png")):
            files.write(path, str(path.relative_to(drawn)))
        files.writestr("round/=broken.png", b"\x89PNG\r\n\x1a\n but no more")
    return out.getvalue()


def _choose(page: Page, label: str, text: str) -> None:
    """Type into a select box and take what is offered, by keyboard alone."""
    box = page.get_by_role("combobox", name=label)
    box.click()
    box.fill(text)
    page.get_by_role("option").filter(has_text=text).first.wait_for()
    box.press("Enter")


def _number(page: Page, label: str, value: int) -> None:
    box = page.get_by_role("spinbutton", name=label)
    box.fill(str(value))
    box.press("Enter")


def _uploader(page: Page, label: str) -> Locator:
    return page.get_by_test_id("stFileUploader").filter(has_text=label).locator("input[type=file]")


def _button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=re.compile(name))


def _at_rest(page: Page) -> None:
    """All that the page's script had to say is there; while it runs, some may still be what it was before."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(state="attached")


@pytest.mark.timeout(1200)
def test_upload_train_classify(page: Page, picture: Picture, archive: bytes, drawn: Path) -> None:
    """One person's way through all three pages; each step is reached from the one before."""
    _import(page, picture, archive)
    _train(page, picture)
    _judge(page, picture)
    _classify(page, picture, drawn)
    _elsewhere(page, picture)


@pytest.mark.timeout(600)
def test_a_folder_is_taken_as_it_lies_on_the_desk(page: Page, picture: Picture, drawn: Path, tmp_path: Path) -> None:
    """The browser says in which folder each file was, and that folder is its class, whatever signs are in its name."""
    drawn = shutil.copytree(drawn, tmp_path / "drawn")
    (drawn / "bean").rename(drawn / HOSTILE)
    page.goto("/")
    expect(page.get_by_text("Add images")).to_be_visible()
    _at_rest(page)
    # Folded away once there is a data set.
    form = page.get_by_test_id("stExpander").filter(has_text="Add images").get_by_test_id("stExpanderDetails").first
    if form.get_attribute("inert") is not None:
        page.get_by_text("Add images").click()
    _uploader(page, "Choose the folder with your images").set_input_files(drawn)
    expect(page.get_by_text("All these images show")).to_have_count(0)
    _choose(page, "Name of the data set", "folder")
    _button(page, "^.*Import$").click()
    expect(page.get_by_text("folder is ready.")).to_be_visible(timeout=LONG)
    for kind in (HOSTILE, "lobed", "ring", "round"):
        expect(page.get_by_role("img", name=f"{kind}, example 1")).to_be_visible()
    _at_rest(page)
    # Beside its pictures, and in no other form than its own.
    beside = page.get_by_test_id("stMarkdownContainer").filter(has_text="16 images")
    shown = [text.replace("\u2060", "").split("\n")[0].strip() for text in beside.all_inner_texts()]
    assert HOSTILE in shown, shown
    picture("8-hostile")


def _import(page: Page, picture: Picture, archive: bytes) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible()
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    picture("1-empty")
    page.get_by_text("A zip file or single images", exact=True).click()
    zipped: FilePayload = {"name": "cells.zip", "mimeType": "application/zip", "buffer": archive}
    _uploader(page, "Choose a zip file, or images").set_input_files(files=[zipped])
    _choose(page, "Name of the data set", "drawn")
    _button(page, "^.*Import$").click()
    expect(page.get_by_text("drawn is ready.")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("64 new images stored and 1 refused.")).to_be_visible()
    for kind in ("bean", "lobed", "ring", "round"):
        expect(page.get_by_role("img", name=f"{kind}, example 1")).to_be_visible()
    picture("2-data")


def _train(page: Page, picture: Picture) -> None:
    _button(page, "Train with these images").click()
    expect(page.get_by_role("heading", name="Train", exact=True)).to_be_visible()
    expect(page.get_by_text("Only the last layer learns").first).to_be_visible()
    _at_rest(page)
    page.get_by_text("Nothing: learn from these images alone").click()
    expect(page.get_by_text("Only the last layer learns")).to_have_count(0)
    page.get_by_text("More: testing, epochs, model name").click()
    _number(page, "Rounds", 2)
    _number(page, "Epochs, at most", 1)
    _number(page, "Image size, pixels", 64)
    expect(page.get_by_text("2 times, each time setting aside another 50 %")).to_be_visible()
    picture("3-train")
    _button(page, "Start training").click()
    # Its steps are folded away once it is over, which it may be by the time of the first look.
    over = page.get_by_text("The model is judged and ready.")
    expect(page.get_by_text("The training goes on", exact=False).or_(over).first).to_be_visible()
    expect(page.get_by_text("Round 1").or_(over).first).to_be_visible(timeout=LONG)
    picture("4-training")
    # A reload loses nothing: the training is in the address.
    page.reload()
    expect(page.get_by_text("The model is judged and ready.")).to_be_visible(timeout=LONG)
    picture("5-trained")


def _judge(page: Page, picture: Picture) -> None:
    _button(page, "See drawn-mobilenet_v2, version 1").click()
    expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
    expect(page.get_by_text("Judged on 64 images")).to_be_visible()
    expect(page.get_by_text("Which classes are mixed up")).to_be_visible()
    expect(page.get_by_text("In use: this version answers")).to_be_visible()
    picture("6-model")
    with page.expect_download() as download:
        _button(page, "Download the model").click()
    assert download.value.suggested_filename == "drawn-mobilenet_v2-1.aimic"
    assert download.value.path().stat().st_size > 1_000_000


def _classify(page: Page, picture: Picture, drawn: Path) -> None:
    page.get_by_role("tab", name="Classify images").click()
    images = [str(next((drawn / kind).glob("*.png"))) for kind in ("bean", "ring")]
    broken: FilePayload = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"}
    uploader = _uploader(page, "Choose images of cells")
    uploader.set_input_files(images)
    expect(page.get_by_text("2 images:")).to_be_visible(timeout=LONG)
    expect(page.get_by_text(re.compile(r"\d+\.\d % sure"))).to_have_count(2)
    uploader.set_input_files(files=[broken])
    expect(page.get_by_text("Not classified")).to_be_visible()
    _at_rest(page)
    picture("7-classified")
    with page.expect_download() as download:
        _button(page, "Download all answers").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8-sig"))))
    assert [row["file"] for row in rows] == [*(Path(path).name for path in images), "broken.png"]
    for row in rows[:2]:
        shares = [float(value) for name, value in row.items() if name.startswith("p(")]
        assert len(shares) == 4
        assert sum(shares) == pytest.approx(1.0, abs=1e-4)
    assert rows[2]["remark"]


def _elsewhere(page: Page, picture: Picture) -> None:
    """All images that there are taught it, so nothing is left to judge it on, and that is said."""
    page.get_by_role("tab", name="Judge on another data set").click()
    _button(page, "Judge$").click()
    expect(page.get_by_text("nothing is left", exact=False)).to_be_visible(timeout=LONG)
    picture("9-judged")
