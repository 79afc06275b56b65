"""Settings and where they come from."""

from pathlib import Path

import pytest

from aimic.settings import Settings, available_cpus, is_loopback, proxy_of


def test_everything_of_an_embedded_installation_is_below_its_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert settings.blobs_url == f"file://{tmp_path}/objects"
    assert settings.events_url == f"sqlite:///{tmp_path}/events.db"
    assert settings.records_url == f"sqlite:///{tmp_path}/records.db"


def test_variables_win_over_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIMIC_HOME", str(tmp_path))
    monkeypatch.setenv("AIMIC_RECORDS_URL", "sqlite:////elsewhere.db")
    settings = Settings()
    assert settings.home == tmp_path
    assert settings.records_url == "sqlite:////elsewhere.db"


def test_the_key_comes_from_its_file_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret-words\n")
    assert Settings(home=tmp_path, api_key_file=tmp_path / "key").key() == "secret-words"
    shown = Settings(home=tmp_path, api_key="secret-words")
    assert shown.key() == "secret-words"
    assert "secret-words" not in repr(shown)


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_key_is_a_mistake_and_not_an_open_door(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(SystemExit, match="is empty"):
        Settings(home=tmp_path, api_key_file=tmp_path / "key").key()
    with pytest.raises(SystemExit, match="AIMIC_API_KEY is empty"):
        Settings(home=tmp_path, api_key=content).key()
    with pytest.raises(SystemExit, match="can't be read"):
        Settings(home=tmp_path, api_key_file=tmp_path / "none").key()


def test_a_home_that_no_address_can_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose another --home"):
        Settings(home=tmp_path / "lab #1")


def test_loopback_is_this_machine_only() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "lab.example"))


def test_there_is_at_least_one_cpu() -> None:
    assert available_cpus() >= 1


def test_a_proxy_is_what_the_standard_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("https://s3.example") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", ".hospital.example")
    assert proxy_of("https://s3.example") == "http://proxy:3128"
    assert proxy_of("http://s3.example") is None
    assert proxy_of("https://s3.hospital.example:9000") is None
    assert proxy_of("https://127.0.0.1:9000") is None
