"""Who may speak to an installation."""

import base64
from pathlib import Path

import pytest

from aimic.auth import Authenticator, refuse_open_bind, require
from aimic.domain.site import OWNER, Permission, Principal
from aimic.errors import ForbiddenError, NotAuthenticatedError
from aimic.settings import Settings

OPEN = Settings(home=Path("/nowhere"))
KEYED = Settings(home=Path("/nowhere"), api_key="a-long-key")


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"any:{password}".encode()).decode()


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8000", "LOCALHOST:1"])
def test_without_a_key_this_machine_is_the_owner(host: str) -> None:
    assert Authenticator(OPEN).authenticate({"host": host}) == OWNER


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8080"},
        {"host": "127.0.0.1", "origin": "https://evil.example"},
        {"host": "127.0.0.1", "origin": "null"},
    ],
)
def test_without_a_key_names_and_pages_of_others_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ForbiddenError):
        Authenticator(OPEN).authenticate(headers)


@pytest.mark.parametrize("sent", ["Bearer a-long-key", "bearer a-long-key", _basic("a-long-key")])
def test_the_key_opens_from_anywhere(sent: str) -> None:
    assert Authenticator(KEYED).authenticate({"host": "lab.example", "authorization": sent}) == OWNER


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer a-long-ke", "Bearer a-long-key2", _basic("no"), "Basic %%%", "a-long-key"]
)
def test_anything_else_does_not(sent: str) -> None:
    with pytest.raises(NotAuthenticatedError):
        Authenticator(KEYED).authenticate({"host": "127.0.0.1", "authorization": sent})


def test_a_remembered_password_is_not_lent_to_pages_of_others() -> None:
    headers = {"host": "lab.example:8080", "authorization": _basic("a-long-key"), "origin": "https://evil.example"}
    with pytest.raises(ForbiddenError, match=r"evil\.example"):
        Authenticator(KEYED).authenticate(headers)
    assert Authenticator(KEYED).authenticate(headers | {"origin": "http://lab.example:8080"}) == OWNER


def test_an_address_beyond_this_machine_needs_a_key() -> None:
    refuse_open_bind(OPEN)
    refuse_open_bind(KEYED, "0.0.0.0")
    for settings, host in ((OPEN, "0.0.0.0"), (OPEN.model_copy(update={"host": "lab.example"}), None)):
        with pytest.raises(SystemExit, match="without a key"):
            refuse_open_bind(settings, host)


def test_a_permission_that_is_not_held_is_named() -> None:
    viewer = Principal(site="local", name="viewer", permissions=frozenset({Permission.DATASETS_READ}))
    require(viewer, Permission.DATASETS_READ)
    with pytest.raises(ForbiddenError, match="models:promote"):
        require(viewer, Permission.MODELS_PROMOTE)


def test_beyond_loopback_nothing_starts_without_a_key() -> None:
    with pytest.raises(SystemExit, match="AIMIC_API_KEY_FILE"):
        refuse_open_bind(OPEN.model_copy(update={"host": "0.0.0.0"}))
    refuse_open_bind(OPEN)
    refuse_open_bind(KEYED.model_copy(update={"host": "0.0.0.0"}))
