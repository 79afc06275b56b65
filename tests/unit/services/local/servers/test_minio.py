"""When MinIO is taken for ready."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from services.local.servers import minio


@pytest.mark.parametrize(
    ("status", "headers", "ready"),
    [
        (200, {}, True),
        (200, {"x-minio-server-status": "offline"}, False),  # it answers, and requests for objects get 503
        (503, {}, False),
    ],
)
def test_it_is_ready_once_its_data_is_open(
    status: int, headers: dict[str, str], ready: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(_: str, **_options: Any) -> httpx.Response:
        return httpx.Response(status, headers=headers)

    monkeypatch.setattr(httpx, "get", get)
    assert (minio.Minio(tmp_path, port=1).not_ready() is None) == ready
