"""The adapter's address."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from aimic import wiring
from aimic.adapters import torchserve_predictor
from aimic.adapters.torchserve.ground import Ground, Settings
from services.inference.settings import Settings as PodSettings


@pytest.mark.parametrize(
    ("url", "directory"),
    [("torchserve://", None), ("torchserve:///", None), ("torchserve:///var/lib/aimic", Path("/var/lib/aimic"))],
)
def test_its_address_names_where_it_works(url: str, directory: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Settings] = []
    monkeypatch.setattr(torchserve_predictor, "Keeper", made.append)
    wiring.predictor(url)
    assert made[0].directory == directory and made[0].threads >= 1


def test_the_pods_settings_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Settings] = []
    monkeypatch.setattr(torchserve_predictor, "Keeper", made.append)
    wiring.predictor("torchserve://", PodSettings().worker)
    assert made[0] == Settings(threads=made[0].threads)
    chosen: dict[str, Any] = {"inference_worker_s": 7, "inference_worker_start_s": 8, "inference_worker_deaths": 9}
    more: dict[str, Any] = {
        "inference_worker_deaths_s": 10,
        "inference_worker_recover_s": 11,
        "inference_worker_fenced_s": 12,
    }
    wiring.predictor("torchserve://", PodSettings(**chosen, **more, inference_token_minutes=13).worker)
    told = made[1]
    assert (told.worker_s, told.start_s, told.deaths, told.deaths_s) == (7, 8, 9, 10)
    assert (told.recover_s, told.fenced_s, told.token_minutes) == (11, 12, 13)


def test_too_long_a_directory_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="too long"):
        Ground(Settings(threads=1, directory=tmp_path / ("long" * 25)))
    assert list((tmp_path / ("long" * 25)).iterdir()) == []


def test_its_settings_are_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No secrets for the workers, no ports, no downloads; only we may look inside."""
    ground = Ground(Settings(threads=3, token_minutes=1))
    try:
        ours = {"PATH": "/bin", "AIMIC_API_KEY": "secret", "AWS_SECRET_ACCESS_KEY": "secret", "OMP_DYNAMIC": "true"}
        told = ground.environment(ours)
        assert told["PATH"] == "/bin" and told["OMP_DYNAMIC"] == "true" and told["OMP_NUM_THREADS"] == "3"
        assert "secret" not in told.values()
        properties = dict(line.split("=", 1) for line in (ground.directory / "config.properties").read_text().split())
        assert properties["token_expiration_min"] == "1.0" and properties["disable_token_authorization"] == "false"
        assert properties["management_address"] == f"unix:{ground.directory}/management"
        assert ground.directory.stat().st_mode & 0o077 == 0
    finally:
        ground.remove()
    assert not ground.directory.exists()


def test_what_killed_processes_left_is_swept() -> None:
    """And nothing else: not where somebody works, nor what isn't ours."""
    with tempfile.TemporaryDirectory(prefix="ts") as base:
        settings = Settings(threads=1, directory=Path(base))
        working = Ground(settings)
        left = Path(base, "aimic-ts-left")
        other = Path(base, "aimic-ts-other")
        for directory in (left, other):
            (directory / "store").mkdir(parents=True)
        (left / "lock").touch()
        another = Ground(settings)
        assert not left.exists() and other.exists() and working.store.exists()
        working.remove()
        another.remove()
        assert [path.name for path in Path(base).iterdir()] == ["aimic-ts-other"]
