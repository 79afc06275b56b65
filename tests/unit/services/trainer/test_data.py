"""Pixels: the serving function's, verified, decoded once."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from aimic.domain.job import TaskKind
from aimic.errors import CorruptError
from aimic.nets.preprocessing import PLAIN, Preprocessing, to_pixels
from services.trainer import data, transfer

MakeLab = Callable[..., Any]
SMALL = Preprocessing(image_size=32, mean=PLAIN, std=PLAIN)


def _file(sample: Any) -> Path:
    return Path(urlsplit(sample.url).path)


def test_are_those_that_serving_sees(make_lab: MakeLab) -> None:
    lab = make_lab(images=4)
    context = lab.context(lab.claim(TaskKind.FOLD, fold=0))
    found = data.pixels(context, [1, 3], SMALL)
    for index in (1, 3):
        expected = to_pixels(_file(lab.samples[index]).read_bytes(), SMALL)
        assert np.array_equal(found[index], expected)


def test_are_decoded_once_for_all_networks(make_lab: MakeLab) -> None:
    lab = make_lab(images=4)
    context = lab.context(lab.claim(TaskKind.FOLD, fold=0))
    first = data.pixels(context, range(4), SMALL).copy()
    for sample in lab.samples:
        _file(sample).unlink()
    other = SMALL.model_copy(update={"mean": (0.1, 0.2, 0.3)})
    assert np.array_equal(data.pixels(context, range(4), other), first)


def test_damaged_bytes_are_refused(make_lab: MakeLab) -> None:
    lab = make_lab(images=4)
    file = _file(lab.samples[2])
    changed = bytearray(file.read_bytes())
    changed[-20] ^= 1
    file.write_bytes(changed)
    context = lab.context(lab.claim(TaskKind.FOLD, fold=0))
    with pytest.raises(CorruptError, match="damaged"):
        data.pixels(context, range(4), SMALL)


def test_an_image_that_the_task_may_not_read_is_never_asked_for(make_lab: MakeLab) -> None:
    lab = make_lab(images=4)
    lab.samples = (lab.samples[0].model_copy(update={"url": None}), *lab.samples[1:])
    context = lab.context(lab.claim(TaskKind.FOLD, fold=0))
    data.pixels(context, [1, 2, 3], SMALL)
    with pytest.raises(CorruptError, match="may not read"):
        data.pixels(context, range(4), SMALL)


def test_two_trainers_that_share_a_home_decode_each_image_once(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(images=12)
    read, asked = transfer.read, Counter[str]()

    def counted(url: str, what: str, sha256: str | None = None) -> bytes:
        asked[what] += 1
        time.sleep(0.01)
        return read(url, what, sha256)

    monkeypatch.setattr(transfer, "read", counted)
    contexts = [lab.context(lab.claim(TaskKind.FOLD, fold=0)) for _ in range(2)]
    with ThreadPoolExecutor(2) as trainers:
        first, second = trainers.map(lambda context: data.pixels(context, range(12), SMALL), contexts)
    assert np.array_equal(first, second)
    assert len(asked) == 12 and set(asked.values()) == {1}


def test_reading_is_side_by_side_and_bounded_in_memory(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make_lab(images=24)
    read, lock, now, most, together = transfer.read, threading.Lock(), 0, 0, threading.Event()

    def watched(url: str, what: str, sha256: str | None = None) -> bytes:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if now == data.READERS or not together.wait(20):  # threads begin one by one, on a busy machine far apart
            together.set()
        time.sleep(0.02)
        with lock:
            now -= 1
        return read(url, what, sha256)

    monkeypatch.setattr(transfer, "read", watched)
    context = lab.context(lab.claim(TaskKind.FOLD, fold=0))
    data.pixels(context, range(12), SMALL)
    assert most == data.READERS
    most = 0
    lab.samples = tuple(sample.model_copy(update={"size": data.MEMORY}) for sample in lab.samples)
    data.pixels(lab.context(lab.claim(TaskKind.FOLD, fold=0)), range(12, 24), SMALL)
    assert most == 1, "an image that takes all the room is read alone"
