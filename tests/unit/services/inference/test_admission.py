"""Bounds on what waits."""

import heapq
import random
from contextlib import ExitStack
from contextvars import Context

import pytest

from aimic.errors import OverloadedError
from services.inference.admission import Admission, ByteBudget, Room
from services.inference.deadline import Deadline

LATER = 1e9


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission(1000, clock)


def enter(stack: ExitStack, admission: Admission, images: int, image_s: float, seconds: float = LATER) -> None:
    """A request that stays until the stack unwinds."""
    stack.enter_context(admission.room(images)).work(image_s, Deadline.after(seconds))


def test_room_is_given_back_whatever_happens() -> None:
    admission = Admission(10)
    with pytest.raises(ValueError, match="x"), admission.room(10):
        raise ValueError("x")
    with admission.room(10):
        pass


def test_beyond_the_limit_new_images_are_turned_away() -> None:
    admission = Admission(10)
    with admission.room(6):
        with pytest.raises(OverloadedError), admission.room(5):
            pass
        with admission.room(4):
            pass


def test_a_quick_model_is_not_turned_away_for_few_requests_of_a_slow_one(admission: Admission) -> None:
    """As while a version is followed by another: the pace of both is known from different times."""
    with ExitStack() as stack:
        for _ in range(6):
            enter(stack, admission, 1, 0.5)
        enter(stack, admission, 1, 0.005)


def test_an_idle_service_takes_even_a_hasty_request(admission: Admission) -> None:
    with ExitStack() as stack:
        enter(stack, admission, 10, 1.0, seconds=0.001)


def test_a_request_that_would_wait_past_its_deadline_is_told_so_at_once(admission: Admission) -> None:
    with ExitStack() as stack:
        enter(stack, admission, 50, 0.1)
        enter(stack, admission, 1, 0.1, seconds=1000)
        with pytest.raises(OverloadedError) as refused:
            enter(stack, admission, 50, 0.1, seconds=8)  # 5 s of the others' images, then its own
        assert refused.value.retry_after_s == pytest.approx(5.1)


def test_a_small_request_does_not_wait_for_all_of_a_large_one(admission: Admission) -> None:
    with ExitStack() as stack:
        enter(stack, admission, 250, 0.1)  # 25 s of work
        enter(stack, admission, 1, 0.1, seconds=60)


def knocks(admission: Admission) -> None:
    with admission.door():
        pass


def test_a_burst_is_taken_and_a_queue_that_stands_is_cut(admission: Admission, clock: Clock) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            enter(stack, admission, 1, 0.02)  # 0.4 s of waiting, all at once
        clock.now += 0.1
        enter(stack, admission, 1, 0.02)
        knocks(admission)
        clock.now += 0.2
        with pytest.raises(OverloadedError):
            enter(stack, admission, 1, 0.02)
        with pytest.raises(OverloadedError):
            knocks(admission)
    knocks(admission)
    with ExitStack() as stack:
        enter(stack, admission, 1, 0.02)


def test_not_even_a_burst_may_wait_for_ever(admission: Admission) -> None:
    with ExitStack() as stack, pytest.raises(OverloadedError):
        for _ in range(99):
            enter(stack, admission, 1, 0.02)
    with ExitStack() as stack:
        for _ in range(24):
            enter(stack, admission, 1, 0.02)
        with pytest.raises(OverloadedError):
            knocks(admission)


def test_who_comes_in_the_same_moment_counts_at_the_door(admission: Admission, clock: Clock) -> None:
    with ExitStack() as stack:
        enter(stack, admission, 1, 0.02)
        with pytest.raises(OverloadedError):
            for _ in range(99):
                stack.enter_context(admission.door())
        clock.now += 0.2  # those send a large body slowly, and hold up nobody
        knocks(admission)


def test_who_was_admitted_is_not_counted_at_the_door_as_well(admission: Admission) -> None:
    with ExitStack() as stack:
        for _ in range(24):
            stack.enter_context(admission.door())
            enter(stack, admission, 1, 0.02)


def test_who_needs_no_door_does_not_overtake_those_who_stand_there(admission: Admission) -> None:
    with ExitStack() as stack:
        enter(stack, admission, 1, 0.02)
        with pytest.raises(OverloadedError):
            for _ in range(99):
                stack.enter_context(admission.door())
        with pytest.raises(OverloadedError):
            Context().run(enter, stack, admission, 1, 0.02)


def test_what_everything_but_the_network_costs_is_learned(admission: Admission, clock: Clock) -> None:
    for _ in range(300):
        with admission.room(1) as room:
            room.work(0.01, Deadline.after(LATER))
            clock.now += 0.04
            room.answered()
    with ExitStack() as stack, pytest.raises(OverloadedError) as refused:
        for _ in range(999):
            enter(stack, admission, 1, 0.01)
    assert refused.value.retry_after_s == pytest.approx(0.96, rel=0.05)  # 24 images at 0.04, not 10 at 0.01


def test_bytes_are_counted_over_all_requests() -> None:
    budget = ByteBudget(100)
    budget.take(60)
    with pytest.raises(OverloadedError):
        budget.take(50)
    budget.give_back(60)
    budget.take(100)


class Simulation:
    """A machine that needs `image_s` for an image, one after the other, behind the admission; a clock of its own.

    Callers come at random `rate` times a second; or there are `clients`, each of whom comes again when it has its
    answer, or after about 0.2 s when it was turned away.
    """

    def __init__(self, image_s: float, seconds: float, rate: float = 0.0, clients: int = 0, large: float = 0.0) -> None:
        self.clock = Clock()
        self.admission = Admission(512, self.clock)
        self.latencies: dict[int, list[float]] = {1: [], 50: []}
        self.refused = self.served = 0
        self._image_s, self._seconds, self._clients = image_s, seconds, clients
        self._draw = random.Random(1)
        self._arrivals = [(self._draw.random() / 10, 1) for _ in range(clients)]
        at = self._draw.expovariate(rate) if rate else seconds
        while at < seconds:
            self._arrivals.append((at, 50 if self._draw.random() < large else 1))
            at += self._draw.expovariate(rate)
        heapq.heapify(self._arrivals)
        self._run()

    def _run(self) -> None:
        turns: list[tuple[int, int, float, int, int, Room, ExitStack]] = []
        round_, number, free_at = 0, 0, 0.0
        while self._arrivals or turns:
            if self._arrivals and (not turns or self._arrivals[0][0] <= free_at):
                at, images = heapq.heappop(self._arrivals)
                self.clock.now = max(at, self.clock.now)
                free_at = max(free_at, at)
                if (entered := self._enter(images)) is not None:
                    number += 1
                    heapq.heappush(turns, (round_ + 1, number, at, images, images, *entered))
                continue
            # Image by image, in turns over the requests, as the batcher does it.
            round_, ident, at, images, left, room, stack = heapq.heappop(turns)
            free_at += self._image_s
            self.clock.now = max(self.clock.now, free_at)
            self.served += 1
            if left > 1:
                heapq.heappush(turns, (round_ + 1, ident, at, images, left - 1, room, stack))
                continue
            room.answered()
            stack.close()
            self._again(0.0)
            self.latencies[images].append(self.clock.now - at)

    def _enter(self, images: int) -> tuple[Room, ExitStack] | None:
        stack = ExitStack()
        try:
            stack.enter_context(self.admission.door())
            room = stack.enter_context(self.admission.room(images))
            room.work(self._image_s, Deadline.after(LATER))
        except OverloadedError:
            stack.close()
            self.refused += 1
            self._again(self._draw.uniform(0.1, 0.3))
            return None
        return room, stack

    def _again(self, after_s: float) -> None:
        if self._clients and self.clock.now < self._seconds:
            heapq.heappush(self._arrivals, (self.clock.now + after_s, 1))

    def p99(self, images: int = 1) -> float:
        latencies = sorted(self.latencies[images])
        return latencies[int(0.99 * len(latencies))]


@pytest.mark.parametrize("image_s", [0.005, 0.05])
def test_ten_times_the_capacity_leaves_the_latency_of_those_admitted(image_s: float) -> None:
    """10x overload, against itself at capacity: p99 of the admitted at most twice as long, and the work gets done."""
    capacity = Simulation(image_s, 800 * image_s, rate=1 / image_s)
    over = Simulation(image_s, 800 * image_s, rate=10 / image_s)
    assert over.p99() <= 2 * capacity.p99()
    assert over.p99() <= 2 * max(0.05, 12 * image_s) + 2 * image_s  # whoever came as it began too
    assert over.refused > 8 * len(over.latencies[1])
    assert over.served * image_s > 0.98 * over.clock.now  # the network was never without work


@pytest.mark.parametrize("image_s", [0.005, 0.02, 0.1])
def test_eighty_clients_who_come_again_leave_the_latency_of_eight(image_s: float) -> None:
    seconds = max(50, 2000 * image_s)
    eight = Simulation(image_s, seconds, clients=8)
    eighty = Simulation(image_s, seconds, clients=80)
    assert eight.refused == 0 < eighty.refused
    assert eighty.p99() <= 2 * eight.p99()


def test_large_requests_do_not_starve_small_ones() -> None:
    mixed = Simulation(0.005, 40, rate=60, large=0.05)  # 1.03 of the capacity
    assert mixed.latencies[50] and mixed.p99(1) < 0.25 < mixed.p99(50)
