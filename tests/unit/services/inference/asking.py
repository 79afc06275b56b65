"""What the tests of the reconciler ask of a running service."""

from typing import Any

from aimic.domain.prediction import Answer
from aimic.domain.site import OWNER
from services.inference.app import Service
from services.inference.deadline import Deadline


async def ask(parts: Service, image: bytes, version: int | None = None, model: str = "cells") -> Answer:
    response = await parts.plane.predict(model, version, [image], Deadline.after(60), "r", principal=OWNER)
    (result,) = response.results
    assert result.answer is not None
    return result.answer


def states(parts: Service) -> dict[int, str]:
    return {served.entry.version: served.state for served in parts.plane.catalogue}


async def ready(parts: Service, until: Any) -> None:
    await until(lambda: parts.reconciler.not_ready() is None)
