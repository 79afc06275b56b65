"""The wire of weights files."""

from pydantic import Field

from aimic.domain.base import Command, Value


class WeightsRequest(Command):
    """Keep a finished upload as weights to start from."""

    upload: str = Field(max_length=64)


class WeightsFile(Value):
    """A kept weights file; `weights` is what a job's settings name it by."""

    sha256: str
    weights: str
