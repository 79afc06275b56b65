"""Bounds on what waits."""

import pytest

from aimic.errors import OverloadedError
from services.inference.admission import Admission, ByteBudget
from services.inference.deadline import Deadline


def test_room_is_given_back_whatever_happens() -> None:
    admission = Admission(10)
    with pytest.raises(ValueError, match="x"), admission.admit(10, Deadline.after(10)):
        raise ValueError("x")
    with admission.admit(10, Deadline.after(10)):
        pass


def test_beyond_the_limit_new_images_are_turned_away() -> None:
    admission = Admission(10)
    with admission.admit(6, Deadline.after(10)):
        with pytest.raises(OverloadedError), admission.admit(5, Deadline.after(10)):
            pass
        with admission.admit(4, Deadline.after(10)):
            pass


def test_a_request_that_would_wait_past_its_deadline_is_told_so_at_once() -> None:
    admission = Admission(1000)
    for _ in range(100):
        admission.learned(0.1)
    with admission.admit(50, Deadline.after(100)):  # five seconds of work
        with pytest.raises(OverloadedError) as refused, admission.admit(1, Deadline.after(3)):
            pass
        assert refused.value.retry_after_s == pytest.approx(5, rel=0.01)
        with admission.admit(1, Deadline.after(8)):
            pass


def test_an_idle_service_takes_even_a_hasty_request() -> None:
    with Admission(10).admit(10, Deadline.after(0.001)):
        pass


def test_bytes_are_counted_over_all_requests() -> None:
    budget = ByteBudget(100)
    budget.take(60)
    with pytest.raises(OverloadedError):
        budget.take(50)
    budget.give_back(60)
    budget.take(100)
