"""Seeds: the same one gives the same history, and the covering ones miss nothing."""

import pytest

from aimic.faults import POINTS
from tests.faults.histories import COVERING, LONGEST, Profile, draw, everything

PROFILES: tuple[Profile, ...] = ("embedded", "servers")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_covering_seeds_hold_every_fault_once_and_every_step_with_a_kill(profile: Profile) -> None:
    drawn = [fault for seed in range(COVERING) for fault in draw(seed, profile, 4).faults]
    assert all(fault in drawn for fault in everything(profile, 4))
    assert {fault.target for fault in drawn if fault.kind == "point" and fault.wish == "kill"} == set(POINTS)


@pytest.mark.parametrize("seed", [0, 7, COVERING, COVERING + 1, 9999])
def test_a_seed_replays(seed: int) -> None:
    assert draw(seed, "servers", 4) == draw(seed, "servers", 4)


def test_steps_meet_a_plot_in_which_they_are_passed() -> None:
    for seed in range(500):
        history = draw(seed, "servers", 4)
        assert 1 <= len(history.faults) <= LONGEST
        targets = {fault.target for fault in history.faults if fault.kind == "point"}
        assert history.evaluates or not any("finish.evaluate" in target for target in targets)
        if any("finish.refit" in target for target in targets):
            assert history.plot == "refit"
        if any("finish.frozen" in target for target in targets):
            assert history.plot == "frozen"
        if any(target.startswith(("child.", "trainer.checkpoint.")) for target in targets):
            assert history.plot != "frozen"


def test_embedded_histories_break_no_server() -> None:
    kinds = {fault.kind for seed in range(500) for fault in draw(seed, "embedded", 4).faults}
    assert kinds == {"point", "kill", "stop", "away", "repeat", "replay"}


def test_no_history_costs_a_task_all_its_attempts() -> None:
    harmless = {"repeat", "replay", "slow"}
    for seed in range(500):
        assert sum(fault.kind not in harmless for fault in draw(seed, "servers", 4).faults) <= 2
