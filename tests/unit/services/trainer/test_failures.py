"""What a person reads when a task ended badly."""

import errno

import pytest
import torch

from aimic.errors import CorruptError, FullError, InvalidInputError, UnavailableError
from services.trainer.failures import OUT_OF_MEMORY, describe, of_death, store_of
from services.trainer.presigned import AddressExpiredError
from services.trainer.step import DivergedError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_running_out_of_memory_is_said_and_may_be_tried_again(error: Exception) -> None:
    assert describe(error)[:1] == (OUT_OF_MEMORY,)
    assert describe(error).retry


def test_what_the_person_must_change_is_not_tried_again() -> None:
    assert not describe(DivergedError("the loss stopped being a number")).retry
    assert describe(InvalidInputError("There are no weights.")).reason == "There are no weights."
    assert describe(UnavailableError("The store is away.")).retry


def test_a_full_disk_is_named() -> None:
    assert "disk" in describe(OSError(errno.ENOSPC, "No space left on device")).reason


def test_the_unforeseen_keeps_its_trace_for_support() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        told = describe(error)
    assert "did not foresee" in told.reason
    assert "test_failures.py" in told.detail


def test_a_child_that_the_system_killed_names_memory_and_a_crash_its_signal() -> None:
    assert "memory" in of_death(-9, "").reason
    assert "SIGSEGV" in of_death(-11, "").reason
    assert of_death(1, "last words").detail == "last words"


@pytest.mark.parametrize(
    ("error", "store"),
    [
        (UnavailableError("The store is away."), "away"),
        (AddressExpiredError("The address has expired."), "refused"),
        (FullError("The disk of this machine is full."), ""),
        (CorruptError("An image is damaged."), ""),
        (OSError(28, "No space left on device"), ""),
    ],
)
def test_only_a_store_that_may_come_back_is_waited_for(error: BaseException, store: str) -> None:
    assert store_of(error) == store
