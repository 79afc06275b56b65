"""Samples in a file: the same as in memory, whatever is asked of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.domain.job import TaskKind
from aimic.domain.work import TaskSample
from services.trainer.samples import SampleFile
from services.trainer.spec import ChildSpec


def _samples(count: int) -> tuple[TaskSample, ...]:
    return tuple(
        TaskSample(index=n, sha256=f"{n:064x}", label=n % 3, group=n or None, url=f"http://s/é{n}" if n % 2 else None)
        for n in range(count)
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    samples = _samples(12)
    SampleFile.write(tmp_path / "samples", iter(samples))
    found = SampleFile(tmp_path / "samples")
    assert tuple(found) == samples and len(found) == 12
    assert [found[place] for place in (11, 0, 5, -1)] == [samples[place] for place in (11, 0, 5, -1)]
    assert found[3:6] == list(samples[3:6])
    with pytest.raises(IndexError):
        found[12]


def test_none_at_all(tmp_path: Path) -> None:
    SampleFile.write(tmp_path / "samples", ())
    assert list(SampleFile(tmp_path / "samples")) == []


def test_a_child_reads_its_worker_s_spec_without_the_token(make_lab: Callable[..., Any], tmp_path: Path) -> None:
    lab = make_lab(images=4)
    claim = lab.claim(TaskKind.FOLD, fold=0).model_copy(update={"token": "secret"})
    ChildSpec(claim=claim, cache=tmp_path / "cache").write(tmp_path, iter(lab.samples))
    spec = ChildSpec.read(tmp_path)
    assert tuple(spec.samples) == lab.samples
    assert spec.claim == claim.model_copy(update={"token": ""})
    assert all("secret" not in file.read_text() for file in tmp_path.iterdir() if file.is_file())
