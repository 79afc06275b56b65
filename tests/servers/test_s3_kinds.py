"""The S3 adapter on stores that IT has set up in another way: certificates and regions of their own, encryption."""

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import minio
import pytest
from minio.sseconfig import Rule, SSEConfig

from aimic.adapters.s3_blobs import S3Blobs
from aimic.errors import UnavailableError
from aimic.settings import Settings
from services.local.part import PartSpec
from services.local.servers.minio import Minio
from services.local.servers.together import fields
from services.trainer import presigned

pytestmark = pytest.mark.servers
MIB = 1 << 20


class _SecureMinio(Minio):
    """A store with a certificate of its own authority, in a region of its own name."""

    @property
    def certificate(self) -> Path:
        return self.home / "certs" / "public.crt"

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        super().prepare()
        self.certificate.parent.mkdir(exist_ok=True)
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        names = ["-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        files = ["-keyout", str(self.certificate.with_name("private.key")), "-out", str(self.certificate)]
        subprocess.run([*made, *names, *files], check=True, capture_output=True)

    def spec(self) -> PartSpec:
        spec = super().spec()
        return spec.model_copy(
            update={
                "command": (*spec.command, "--certs-dir", str(self.certificate.parent)),
                "environment": {**spec.environment, "MINIO_REGION": "ward-7"},
            }
        )

    def not_ready(self) -> str | None:
        log = self.log_tail()
        return None if "API:" in log else "it says nothing"


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[_SecureMinio]:
    with _SecureMinio(tmp_path / "secure") as server:
        yield server


def test_a_store_with_its_own_authority_region_and_dots(
    secure: _SecureMinio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3+https://127.0.0.1:{secure.port}/cells.of.2026"
    values = {**fields(secure.environment()), "blobs_url": f"{url}?region=ward-7", "s3_ca_file": secure.certificate}
    blobs = S3Blobs.of(Settings(home=tmp_path, **values))
    blobs.put("a", os.urandom(9 * MIB))
    with presigned.open_client(secure.certificate) as trusting:
        monkeypatch.setattr(presigned, "client", lambda: trusting)
        assert presigned.read(blobs.url_to_get("a", 60), "it") == blobs.get("a")
    with pytest.raises(UnavailableError, match="region"):
        S3Blobs.of(Settings(home=tmp_path, **{**values, "blobs_url": url})).put("a", b"x")
    untrusting = S3Blobs.of(Settings(home=tmp_path, **{**values, "s3_ca_file": None}))
    with pytest.raises(UnavailableError, match="AIMIC_S3_CA_FILE"):
        untrusting.get("a")
    with presigned.open_client(None) as trusting, pytest.raises(UnavailableError, match="AIMIC_S3_CA_FILE"):
        presigned.read(blobs.url_to_get("a", 60), "it")


class _NamedMinio(Minio):
    """A store that looks for the bucket before its own name."""

    def spec(self) -> PartSpec:
        spec = super().spec()
        return spec.model_copy(update={"environment": {**spec.environment, "MINIO_DOMAIN": "store.example"}})


def test_a_store_that_finds_the_bucket_in_the_hosts_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _NamedMinio(tmp_path / "named") as server:
        # Nobody knows these names here; asked as a proxy, the store gets the requests as they are.
        monkeypatch.setenv("HTTP_PROXY", server.endpoint)
        monkeypatch.delenv("http_proxy", raising=False)
        url = "s3+http://store.example/cells?style=virtual"
        blobs = S3Blobs.of(Settings(home=tmp_path, **{**fields(server.environment()), "blobs_url": url}))
        data = os.urandom(9 * MIB)
        blobs.put("a/b", data)
        assert blobs.get("a/b") == data
        assert [info.key for info in blobs.list("a/")] == ["a/b"]
        signed = blobs.url_to_get("a/b", 60)
        assert signed.startswith("http://cells.store.example/a/b?")
        with presigned.open_client(None) as through:
            monkeypatch.setattr(presigned, "client", lambda: through)
            assert presigned.read(signed, "it") == data


class _EncryptingMinio(Minio):
    """A store that keeps a key to encrypt with."""

    def spec(self) -> PartSpec:
        spec = super().spec()
        key = f"key:{base64.b64encode(bytes(32)).decode()}"
        return spec.model_copy(update={"environment": {**spec.environment, "MINIO_KMS_SECRET_KEY": key}})


@pytest.fixture
def encrypting(tmp_path: Path) -> Iterator[_EncryptingMinio]:
    with _EncryptingMinio(tmp_path / "encrypting") as server:
        yield server


@pytest.mark.parametrize("rule", [Rule.new_sse_s3_rule(), Rule.new_sse_kms_rule("key")], ids=["own", "kms"])
def test_a_store_that_encrypts_is_read_though_its_etags_are_no_md5(
    encrypting: _EncryptingMinio, tmp_path: Path, rule: Rule
) -> None:
    settings = Settings(home=tmp_path, **fields(encrypting.environment()))
    blobs = S3Blobs.of(settings)
    blobs.ping()
    keys = settings.secret("s3_access_key"), settings.secret("s3_secret_key")
    raw = minio.Minio(f"127.0.0.1:{encrypting.port}", *keys, secure=False)
    raw.set_bucket_encryption("aimic", SSEConfig(rule))
    (tmp_path / "sent").write_bytes(os.urandom(MIB))
    presigned.send(tmp_path / "sent", blobs.url_to_put("sent", 60))
    blobs.put("ours", os.urandom(9 * MIB))
    assert "x-amz-server-side-encryption" in (raw.stat_object("aimic", "sent").metadata or {})
    assert blobs.get("sent") == (tmp_path / "sent").read_bytes()
    for key in ("sent", "ours"):
        assert presigned.read(blobs.url_to_get(key, 60), "it") == blobs.get(key)
