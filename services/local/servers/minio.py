"""MinIO on this machine: an S3 store on one directory."""

import uuid
from pathlib import Path

import httpx

from services.local.part import PartSpec
from services.local.servers import install
from services.local.servers.server import Server

BUCKET = "aimic"


class Minio(Server):
    """An S3 store. Buckets are made by whoever uses them."""

    name = "minio"

    @property
    def data(self) -> Path:
        """The directory of the buckets."""
        return self.home / "data"

    @property
    def endpoint(self) -> str:
        """`http://…` of the store."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """`s3+http://…/aimic`: the store and the platform's bucket."""
        return f"s3+{self.endpoint}/{BUCKET}"

    def environment(self, bucket: str | None = BUCKET, port: int | None = None) -> dict[str, str]:
        """`AIMIC_BLOBS_URL` and the credentials; a bucket that never was with `bucket=None`; `port` of a proxy."""
        name = bucket or f"b-{uuid.uuid4().hex}"
        return {
            "AIMIC_BLOBS_URL": f"s3+http://127.0.0.1:{port or self.port}/{name}",
            "AIMIC_S3_ACCESS_KEY_FILE": str(self.secret_file("access-key")),
            "AIMIC_S3_SECRET_KEY_FILE": str(self.secret_file("secret-key")),
        }

    def prepare(self) -> None:
        """The directory."""
        self.data.mkdir(parents=True, exist_ok=True)

    def spec(self) -> PartSpec:
        """The server's process, without its web console."""
        return PartSpec(
            name=self.name,
            command=(str(install.minio()), "server", str(self.data), "--address", f"127.0.0.1:{self.port}"),
            environment={
                "MINIO_ROOT_USER": self.secret("access-key"),
                "MINIO_ROOT_PASSWORD": self.secret("secret-key"),
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
        )

    def not_ready(self) -> str | None:
        """Its own question for load balancers, which it answers, with a header, before it has opened its data too."""
        try:
            answer = httpx.get(f"{self.endpoint}/minio/health/live", timeout=2, trust_env=False)
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code != httpx.codes.OK:
            return f"it answers {answer.status_code}"
        return "it has not opened its data yet" if answer.headers.get("x-minio-server-status") == "offline" else None
