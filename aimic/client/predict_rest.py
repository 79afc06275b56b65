"""One try over REST: what goes out and what comes back."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import httpx

from aimic.client.predict_images import Item
from aimic.client.predict_tries import NotAnsweredError
from aimic.client.problems import error_of, retry_after
from aimic.domain.prediction import PredictResponse
from aimic.errors import InvalidInputError

MODELS = "/inference/v1/models"
GRACE_S = 2.0
"""The service ends a request at its deadline itself; this much later we stop listening."""


def path_of(model: str, version: int | None) -> str:
    """Where a model is asked."""
    path = f"{MODELS}/{quote(model, safe='')}"
    return f"{path}/predict" if version is None else f"{path}/versions/{version}/predict"


def request_of(batch: Sequence[Item], seconds: float) -> dict[str, Any]:
    """The arguments of httpx for images that are to be answered within `seconds`."""
    return {
        "headers": {"x-deadline-ms": str(max(1, round(seconds * 1000)))},
        "files": [("images", (item.name, item.data, "application/octet-stream")) for item in batch],
        "timeout": seconds + GRACE_S,
    }


def response_of(answer: httpx.Response) -> PredictResponse:
    """What was answered; NotAnsweredError otherwise."""
    if answer.status_code >= 400:
        raise NotAnsweredError(error_of(answer), retry_after(answer))
    try:
        return PredictResponse.model_validate(answer.json())
    except ValueError:  # no text, no JSON, or JSON of another kind: a proxy's page of its own, a redirection
        raise NotAnsweredError(
            InvalidInputError(
                f"What answers at {answer.request.url.host} (status {answer.status_code}) is not AIMIC's prediction "
                "service; check the address (https?)."
            )
        ) from None
