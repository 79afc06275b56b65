"""Fences: closed by deaths that follow closely, for longer each time, and forgiven after a steady while."""

from aimic.adapters.torchserve.fence import Fence


def _die(fence: Fence, *times: float) -> None:
    for now in times:
        fence.died(now)


def _state(fence: Fence) -> tuple[float | None, str]:
    return fence.until, fence.words


def test_deaths_that_follow_closely_close_it() -> None:
    fence = Fence(3, within_s=60, first_s=10)
    _die(fence, 0, 30)
    assert _state(fence) == (None, "")
    _die(fence, 60)
    until, words = _state(fence)
    assert until == 70 and "died 3 times within 60 s" in words


def test_deaths_far_apart_do_not() -> None:
    fence = Fence(3, within_s=60, first_s=10)
    _die(fence, 0, 31, 62, 93, 124)
    assert fence.until is None


def test_each_further_one_is_twice_as_long_up_to_five_minutes() -> None:
    fence = Fence(1, within_s=60, first_s=10)
    now, lengths = 0.0, []
    for _ in range(7):
        fence.died(now)
        assert fence.until is not None
        lengths.append(fence.until - now)
        fence.open(now := fence.until)
    assert lengths == [10, 20, 40, 80, 160, 300, 300]


def test_a_failed_try_counts_as_well() -> None:
    fence = Fence(1, within_s=60, first_s=10)
    fence.close(0, "did this")
    fence.close(10, "could not be started again")
    assert fence.until == 30 and "could not be started again" in fence.words


def test_what_never_starts_again_waits_longer_each_time() -> None:
    """However long this machine is up: a fence that was never opened since did not see it run."""
    fence = Fence(3, within_s=60, first_s=10)
    now, lengths = 5000.0, []
    for _ in range(7):
        fence.close(now, "could not be started again")
        assert fence.until is not None
        lengths.append(fence.until - now)
        now = fence.until + 130
    assert lengths == [10, 20, 40, 80, 160, 300, 300]


def test_a_steady_while_is_forgiven() -> None:
    fence = Fence(2, within_s=60, first_s=10)
    _die(fence, 0, 1)
    fence.open(11)
    _die(fence, 700)
    assert _state(fence)[0] is None  # what died before the fence doesn't count
    _die(fence, 701)
    assert _state(fence)[0] == 711
