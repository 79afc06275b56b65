"""Pixels: the serving function's, verified, decoded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from aimic.domain.job import TaskKind
from aimic.errors import CorruptError
from aimic.nets.preprocessing import PLAIN, Preprocessing, to_pixels
from services.trainer import data

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
