"""What is asked of an evaluation."""

from pydantic import Field

from aimic.domain.base import Command


class EvaluationRequest(Command):
    """Judge a model on a data set version (None: the newest)."""

    dataset: str = Field(max_length=100)
    version: int | None = Field(None, ge=1)
