"""The Python client of AIMIC's REST interfaces, shared by the dashboard, the CLI and users.

from aimic.client import Client

with Client() as client:
    client.datasets.import_("cells/", "blood")

Predictions in asyncio programs: AsyncClient, and over gRPC aimic.client.predict_grpc.GrpcClient.
"""

from aimic.client.api import DEFAULT_SERVER, Client
from aimic.client.datasets import ImportStep
from aimic.client.predict_async import AsyncClient
from aimic.client.retry import Retry, Wait
from aimic.client.sources import BytesSource, FileSource, Source, StreamSource

__all__ = [
    "DEFAULT_SERVER",
    "AsyncClient",
    "BytesSource",
    "Client",
    "FileSource",
    "ImportStep",
    "Retry",
    "Source",
    "StreamSource",
    "Wait",
]
