"""What is held of a version is small, and the same as before it was made small."""

import sys
from collections.abc import Sequence

import pytest

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
