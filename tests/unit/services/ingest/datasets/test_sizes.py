"""What is held of a version is small, and the same as before it was made small."""

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from aimic.errors import CorruptError, UnavailableError
from services.ingest.datasets import reading
from services.ingest.datasets.facts import FactsTable, SampleFacts
from services.ingest.datasets.reading import ObjectKeys, _Few, sample_key


def _facts(number: int) -> SampleFacts:
    border = tuple(number + channel / 8 for channel in range(6))
    return SampleFacts(border, 40 + number, 30, 8, "image/png", f"png {number % 3}", 2**40 + number)


def test_facts_come_back_as_they_were_put() -> None:
    table = FactsTable(5)
    for number in (4, 0, 2, 1, 3):
        table.put(number, _facts(number))
    assert list(table) == [_facts(number) for number in range(5)]
    assert table[-1] == _facts(4) and table[1:3] == [_facts(1), _facts(2)]
    with pytest.raises(IndexError):
        table[5]


def test_keys_of_objects_are_made_when_they_are_asked_for() -> None:
    names = [f"{number:064x}" for number in range(4)]
    keys: Sequence[str] = ObjectKeys("north", names, {names[2]: 3})
    assert list(keys) == [sample_key("north", name, 3 if name == names[2] else 0) for name in names]
    assert list(keys[1:3]) == list(keys)[1:3] and len(keys) == 4
    assert sys.getsizeof(keys) < 100


def test_versions_in_memory_are_counted_by_their_samples() -> None:
    few: _Few[list[int]] = _Few(len, most=10)
    read: list[str] = []

    def get(name: str, samples: int) -> None:
        def reading() -> list[int]:
            read.append(name)
            return [0] * samples

        assert len(few.get(name, reading)) == samples

    for name, samples in (("a", 4), ("b", 4), ("a", 4), ("c", 4), ("a", 4), ("large", 50), ("large", 50), ("a", 4)):
        get(name, samples)
    assert read == ["a", "b", "c", "large", "a"], "the least lately asked for went, and one is held however large"


def test_one_slow_read_holds_up_neither_others_nor_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    few: _Few[list[int]] = _Few(len)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> list[int]:
        begun.set()
        assert go_on.wait(10)
        return [1]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(few.get, "slow", slow)
        assert begun.wait(10)
        assert few.get("other", lambda: [2]) == [2]
        with monkeypatch.context() as patch:
            patch.setattr(reading, "WAIT_S", 0.01)
            with pytest.raises(UnavailableError) as refused:
                few.get("slow", lambda: [3])
        assert refused.value.retry_after_s
        waiting = pool.submit(few.get, "slow", lambda: [4])
        go_on.set()
        assert first.result(10) == waiting.result(10) == few.get("slow", lambda: [5]) == [1]


def test_a_read_that_failed_is_tried_by_the_next_who_asks() -> None:
    few: _Few[list[int]] = _Few(len)

    def damaged() -> list[int]:
        raise CorruptError("changed")

    with pytest.raises(CorruptError):
        few.get("it", damaged)
    assert few.get("it", lambda: [1]) == [1]
