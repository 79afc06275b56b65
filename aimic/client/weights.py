"""Pretrained weights of one's own as a start."""

from aimic.client.sources import Sendable
from aimic.client.transport import Transport
from aimic.client.uploads import SendProgress, Uploads


class WeightsFiles:
    """`client.weights`."""

    def __init__(self, transport: Transport, uploads: Uploads) -> None:
        self._transport = transport
        self._uploads = uploads

    def upload(self, what: Sendable, progress: SendProgress | None = None) -> str:
        """Send a weights file; the answer, `file:<sha256>`, is what a job's settings name it by."""
        upload = self._uploads.send(what, progress=progress)
        return str(self._transport.create("/api/v1/weights", {"upload": upload.id}, slow=True)["weights"])
