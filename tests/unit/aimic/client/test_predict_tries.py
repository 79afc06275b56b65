"""How often a prediction is asked again, by the clock of the test."""

import pytest

from aimic.client import Retry
from aimic.client.predict_tries import Allowance, NotAnsweredError, Tries
from aimic.errors import AimicError, DeadlineError, InvalidInputError, OverloadedError, UnavailableError

BUSY = NotAnsweredError(OverloadedError("busy"), 2.0)
AWAY = NotAnsweredError(UnavailableError("away"))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def waits(clock: Clock, tries: Tries, refused: NotAnsweredError) -> list[float]:
    """The waits until it gives up, each of them waited for."""
    found = []
    while (pause := tries.pause_s(refused)) is not None:
        found.append(pause)
        clock.now += pause
    return found


def test_who_says_when_to_come_is_obeyed_until_the_deadline_and_never_beyond() -> None:
    clock = Clock()
    tries = Tries(Retry(first_s=0.01, longest_s=0.01), Allowance(9, 9), clock)
    assert waits(clock, tries, BUSY) == [2.0] * 4
    assert tries.try_s() == pytest.approx(1)


def test_who_is_silent_is_asked_a_few_times_or_persistently() -> None:
    clock = Clock()
    assert len(waits(clock, Tries(Retry(first_s=0.1), Allowance(30, 30), clock), AWAY)) == 3
    persistently = waits(clock, Tries(Retry(first_s=0.1, longest_s=1), Allowance(30, 60, persistent=True), clock), AWAY)
    assert 57 < sum(persistently) < 60
    assert max(persistently) <= 1


@pytest.mark.parametrize("persistent", [False, True])
def test_a_fault_of_the_server_is_tried_a_few_times_even_persistently(persistent: bool) -> None:
    clock = Clock()
    tries = Tries(Retry(), Allowance(30, 300, persistent), clock)
    assert len(waits(clock, tries, NotAnsweredError(AimicError("oops")))) == 3


def test_what_asking_again_cannot_help_is_not_asked_again() -> None:
    assert Tries(Retry(), Allowance(30, 30)).pause_s(NotAnsweredError(InvalidInputError("no"))) is None
    assert Tries(Retry(attempts=1), Allowance(30, 30)).pause_s(BUSY) is None


def test_a_try_has_its_own_time_and_no_more_than_is_left() -> None:
    clock = Clock()
    tries = Tries(Retry(), Allowance(30, 50), clock)
    assert tries.try_s() == 30
    clock.now = 45
    assert tries.try_s() == 5
    clock.now = 50
    with pytest.raises(DeadlineError):
        tries.try_s()
