"""From an exception to the sentence that the person who started the job reads."""

import signal
import traceback
from typing import Literal, NamedTuple

from aimic.disks import FULL
from aimic.errors import AimicError, CorruptError, FullError, InvalidInputError, UnavailableError
from services.trainer.presigned import AddressExpiredError

KEPT = "The data set and all finished tasks are kept."
_DETAIL = 20_000
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


class Failure(NamedTuple):
    """`reason` for a person, `detail` for whoever helps them, `retry` when another attempt may succeed."""

    reason: str
    detail: str
    retry: bool


OUT_OF_MEMORY = (
    "The training needed more memory than this machine has. "
    f"{KEPT} Start the job again with a smaller batch size (half), smaller images or a smaller network."
)


def describe(error: BaseException) -> Failure:
    """What to say of an exception that ended a task."""
    detail = "".join(traceback.format_exception(error))[-_DETAIL:]
    if isinstance(error, AimicError):
        return Failure(error.message[:2000], detail, not isinstance(error, InvalidInputError | CorruptError))
    if is_out_of_memory(error):
        return Failure(OUT_OF_MEMORY, detail, True)
    if isinstance(error, OSError) and error.errno in FULL:
        reason = f"The disk of the training machine is full. {KEPT} Free some space and start the job again."
        return Failure(reason, detail, True)
    reason = (
        f"The training stopped on an error that we did not foresee ({type(error).__name__}: {error}). "
        f"{KEPT} Start the job again; if it stays, give support this text."
    )
    return Failure(reason[:2000], detail, True)


def store_of(error: BaseException) -> Literal["", "away", "refused"]:
    """What the store has to do with it. A child speaks to nothing else, so what is away is the store."""
    if isinstance(error, AddressExpiredError):
        return "refused"
    return "away" if isinstance(error, UnavailableError) and not isinstance(error, FullError) else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the processor or the GPU: torch says it in several ways, in a RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _MEMORY_WORDS)


def of_silence(seconds: float, last_words: str) -> Failure:
    """What to say of a child that lived, said nothing for so long and was ended."""
    reason = (
        f"The training process gave no sign of life for {max(1, round(seconds / 60))} minutes, so it was ended; a "
        f"GPU's driver or a disk may hang. {KEPT} It is tried again from its last checkpoint. If it happens again, "
        "restart the training machine."
    )
    return Failure(reason, last_words[-_DETAIL:], True)


def of_death(code: int, last_words: str) -> Failure:
    """What to say of a child that ended without a word; `code` as subprocess gives it."""
    detail = last_words[-_DETAIL:]
    if code == -signal.SIGKILL:
        reason = (
            "The system ended the training, most likely because the machine ran out of memory. "
            f"{KEPT} If it happens again, use a smaller batch size, smaller images or a smaller network."
        )
        return Failure(reason, detail, True)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
    return Failure(
        f"The training process ended without a result ({how}). {KEPT} It is tried again from its last checkpoint.",
        detail,
        True,
    )
