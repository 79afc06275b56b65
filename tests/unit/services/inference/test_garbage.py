"""What stays is out of the collector's sight, and freed all the same once it is used no longer."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from services.inference import garbage


class Ring:
    """Only the collector can free it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_stays_is_not_looked_at() -> None:
    ring = Ring()
    garbage.set_aside()
    assert not any(one is ring for one in gc.get_objects())


def test_what_a_load_left_behind_is_freed() -> None:
    gone = weakref.ref(Ring())
    garbage.set_aside()
    assert gone() is None


def test_what_is_used_no_longer_is_freed() -> None:
    ring = Ring()
    gone = weakref.ref(ring)
    garbage.set_aside()
    del ring
    gc.collect()
    assert gone() is not None  # out of sight
    garbage.look_again()
    assert gone() is None
