"""A second S3 store, by other people in another language than MinIO: what only one maker's store does fails here.

It keeps objects in memory and looks at no signature; who may do what is asked of MinIO.
"""

import sys
import uuid

import httpx

from services.local.part import PartSpec
from services.local.servers.server import Server


class Moto(Server):
    """moto's S3 as a process of its own."""

    name = "moto"

    def prepare(self) -> None:
        """It keeps nothing on disk but its log."""
        self.home.mkdir(parents=True, exist_ok=True)

    def spec(self) -> PartSpec:
        """The process."""
        command = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port))
        return PartSpec(name=self.name, command=command)

    def not_ready(self) -> str | None:
        """Whether it lists its buckets."""
        try:
            httpx.get(f"http://127.0.0.1:{self.port}/", timeout=2, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            return type(error).__name__
        return None

    def environment(self, bucket: str | None = None) -> dict[str, str]:
        """With a bucket that never was, unless one is named."""
        return {
            "AIMIC_BLOBS_URL": f"s3+http://127.0.0.1:{self.port}/{bucket or f'b-{uuid.uuid4().hex}'}",
            "AIMIC_S3_ACCESS_KEY": "anybody",
            "AIMIC_S3_SECRET_KEY": "anything",
        }
