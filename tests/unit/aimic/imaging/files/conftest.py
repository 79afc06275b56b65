"""Pictures of every kind that the import takes, made on the spot, each with words planted in its metadata."""

from collections.abc import Callable

import pytest

from tests.unit.aimic.imaging.files.bmps import bmps
from tests.unit.aimic.imaging.files.drawing import CANARY, Picture, saved
from tests.unit.aimic.imaging.files.jpegs import jpegs
from tests.unit.aimic.imaging.files.others import others
from tests.unit.aimic.imaging.files.pngs import pngs
from tests.unit.aimic.imaging.files.tiffs import tiffs

PICTURES = jpegs() | pngs() | bmps() | tiffs() | others()


@pytest.fixture(params=sorted(PICTURES))
def picture(request: pytest.FixtureRequest) -> Picture:
    """Each kind of picture in turn."""
    return PICTURES[request.param]


@pytest.fixture
def pictures() -> dict[str, Picture]:
    """All kinds by name."""
    return PICTURES


@pytest.fixture
def canary() -> bytes:
    """The words planted in metadata."""
    return CANARY.encode()


@pytest.fixture
def make() -> Callable[..., bytes]:
    """Save an image by Pillow: `make(image, "png", …)`."""
    return saved
