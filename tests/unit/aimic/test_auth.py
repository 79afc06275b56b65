"""Who may speak to an installation."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aimic.auth import Authenticator, refuse_open_bind, require
from aimic.domain.site import OWNER, PLATFORM_SITE, Permission, Principal
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


WORKS = KEYED.model_copy(update={"worker_key": SecretStr("worker-key")})


def test_a_worker_of_the_platform_may_ask_for_tasks_and_nothing_else() -> None:
    worker = Authenticator(WORKS).authenticate({"host": "lab.example", "authorization": "Bearer worker-key"})
    assert worker.site == PLATFORM_SITE
    assert worker.permissions == {Permission.TASKS_WORK}


def test_a_workers_key_alone_closes_no_door() -> None:
    alone = OPEN.model_copy(update={"worker_key": SecretStr("worker-key")})
    assert Authenticator(alone).authenticate({"host": "127.0.0.1"}) == OWNER
    with pytest.raises(SystemExit, match="without a key"):
        refuse_open_bind(alone, "0.0.0.0")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_key_of_the_file_is_an_owner_of_its_site(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    rows = [{"site": name, "principal": f"{name}-lab", "sha256": _hash(f"key-{name}")} for name in ("north", "south")]
    file.write_text(json.dumps(rows))
    settings = WORKS.model_copy(update={"keys_file": file})
    refuse_open_bind(settings.model_copy(update={"api_key": None}), "0.0.0.0")
    authenticator = Authenticator(settings)
    found = [authenticator.authenticate({"authorization": f"Bearer key-{name}"}) for name in ("south", "north")]
    assert [(who.site, who.name) for who in found] == [("south", "south-lab"), ("north", "north-lab")]
    assert found[0].permissions == frozenset(Permission)
    for sent in (_hash("key-north"), "key-east", ""):  # a hash is no key
        with pytest.raises(NotAuthenticatedError):
            authenticator.authenticate({"host": "127.0.0.1", "authorization": f"Bearer {sent}"})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("{", "not a JSON list"),
        ("[]", "not a JSON list"),
        ([{"site": "*", "principal": "p", "sha256": "0" * 64}], "0.site"),
        ([{"site": "a/b", "principal": "p", "sha256": "0" * 64}], "0.site"),
        ([{"site": "a", "principal": "p", "sha256": "the key itself"}], "0.sha256"),
        ([{"site": "a", "principal": "p", "sha256": "0" * 64, "role": "viewer"}], "0.role"),
        ([{"site": name, "principal": name, "sha256": "0" * 64} for name in "ab"], "key of its own"),
        ([{"site": "a", "principal": "p", "sha256": _hash("worker-key")}], "key of its own"),
        (None, "can't be read"),
    ],
)
def test_a_file_of_keys_that_is_wrong_starts_nothing(tmp_path: Path, rows: Any, words: str) -> None:
    file = tmp_path / "keys.json"
    if rows is not None:
        file.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    with pytest.raises(SystemExit, match=words) as caught:
        Authenticator(WORKS.model_copy(update={"keys_file": file}))
    assert "the key itself" not in str(caught.value)
    assert "Nothing was started." in str(caught.value)
