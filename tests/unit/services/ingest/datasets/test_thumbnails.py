"""Small pictures within a budget of memory and threads."""

import io
import threading
import time

import pytest
from PIL import Image

from aimic.errors import OverloadedError
from services.ingest.datasets import thumbnails
from services.ingest.datasets.thumbnails import Thumbnails


def _png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 20), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()


def test_few_wait_for_room_and_the_others_are_sent_away_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "_MOST_WAITING", 1)
    monkeypatch.setattr(thumbnails, "_WAIT_S", 30)
    made, let, inside = Thumbnails(), threading.Event(), threading.Event()
    done: list[bytes] = []

    def slow() -> bytes:
        inside.set()
        assert let.wait(30)
        return _png()

    everything = thumbnails._AT_ONCE_PIXELS
    first = threading.Thread(target=lambda: done.append(made.png(slow, everything, 16)))
    second = threading.Thread(target=lambda: done.append(made.png(_png, everything, 16)))
    first.start()
    assert inside.wait(5)
    second.start()
    while not made._waiting:
        time.sleep(0.005)
    started = time.monotonic()
    with pytest.raises(OverloadedError) as refused:
        made.png(_png, 1, 16)
    assert time.monotonic() - started < thumbnails._WAIT_S / 2 and refused.value.retry_after_s
    let.set()
    for thread in (first, second):
        thread.join(30)
    assert [Image.open(io.BytesIO(png)).size for png in done] == [(16, 8), (16, 8)]
    assert made.png(_png, 800, 16)
