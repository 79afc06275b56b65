"""inference.GRPCInferenceService: messages in and out; the decisions are the data plane's."""

import asyncio
from collections.abc import Callable

from aimic.domain.site import Permission
from aimic.rpc.oip import open_inference_grpc_pb2 as wire
from aimic.rpc.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceServicer
from services.inference.dataplane import DataPlane
from services.inference.grpc.calls import Context, answering
from services.inference.oip import models
from services.inference.oip.inferring import SMALL, infer, until
from services.inference.oip.messages import asked_of, metadata_of, response_of
from services.inference.settings import Settings

SERVICE: str = wire.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class ProtocolServicer(GRPCInferenceServiceServicer):
    """Health is open, as gRPC's own is; the rest asks for `models:read`, an inference for `predict`."""

    def __init__(self, settings: Settings, plane: DataPlane, ready: Callable[[], bool]) -> None:
        self._settings = settings
        self._plane = plane
        self._ready = ready

    async def ServerLive(  # noqa: N802
        self, _request: wire.ServerLiveRequest, _context: Context
    ) -> wire.ServerLiveResponse:
        """Whether the server answers."""
        return wire.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, _request: wire.ServerReadyRequest, _context: Context
    ) -> wire.ServerReadyResponse:
        """Whether the server should get requests."""
        return wire.ServerReadyResponse(ready=self._ready())

    async def ServerMetadata(  # noqa: N802
        self, _request: wire.ServerMetadataRequest, _context: Context
    ) -> wire.ServerMetadataResponse:
        """Who answers, and with which extensions of the protocol."""
        async with answering("ServerMetadata") as call:
            call.principal(Permission.MODELS_READ)
        return wire.ServerMetadataResponse(name=models.SERVER, version=models.VERSION, extensions=models.EXTENSIONS)

    async def ModelReady(  # noqa: N802
        self, request: wire.ModelReadyRequest, _context: Context
    ) -> wire.ModelReadyResponse:
        """Whether a version is in memory and answers."""
        async with answering("ModelReady") as call:
            site = call.principal(Permission.MODELS_READ).site
            version = models.version_of(request.version)
            ready = models.is_ready(self._plane.catalogue, site, request.name, version)
        return wire.ModelReadyResponse(ready=ready)

    async def ModelMetadata(  # noqa: N802
        self, request: wire.ModelMetadataRequest, _context: Context
    ) -> wire.ModelMetadataResponse:
        """The tensors of a version. The number of classes is -1 until it is in memory."""
        async with answering("ModelMetadata") as call:
            site = call.principal(Permission.MODELS_READ).site
            version = models.version_of(request.version)
            info = models.model_info(self._plane.catalogue, site, request.name, version)
        return metadata_of(info)

    async def ModelInfer(  # noqa: N802
        self, request: wire.ModelInferRequest, _context: Context
    ) -> wire.ModelInferResponse:
        """Classify. A request is answered whole or fails whole."""
        async with answering("ModelInfer") as call:
            principal = call.principal(Permission.PREDICT)
            deadline = call.deadline(self._settings.inference_deadline_s, self._settings.inference_longest_deadline_s)
            most = self._settings.inference_request_images
            if request.ByteSize() <= SMALL:
                asked = asked_of(request, most)
            else:  # what would hold up everybody else is done in a thread
                async with deadline.during("the request was read"):
                    asked = await asyncio.to_thread(asked_of, request, most)
            limit = until(deadline, call.came, asked.timeout_s)
            model, version = request.model_name, request.model_version
            inferred = await infer(self._plane, model, version, asked, limit, call.request_id, principal)
            call.succeeded()
        return response_of(inferred, raw=asked.binary)
