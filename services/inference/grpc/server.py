"""The gRPC server. It turns on the same event loop as REST: both wait for the same queue, and no lock is needed."""

import asyncio
from importlib import import_module

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from aimic.auth import Authenticator
from aimic.rpc.oip import open_inference_grpc_pb2
from aimic.rpc.oip.open_inference_grpc_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from aimic.rpc.v1 import inference_pb2
from aimic.rpc.v1.inference_pb2_grpc import add_InferenceServicer_to_server
from services.inference.dataplane import DataPlane
from services.inference.grpc.limit import Limit
from services.inference.grpc.reading import Bounded
from services.inference.grpc.servicer import Servicer
from services.inference.oip.grpc import SERVICE as PROTOCOL
from services.inference.oip.grpc import ProtocolServicer
from services.inference.settings import Settings

SERVICE = inference_pb2.DESCRIPTOR.services_by_name["Inference"].full_name
_SERVED = ("", SERVICE, PROTOCOL)
"""The whole server, and each service by its name."""
_INFERENCES = (f"/{SERVICE}/Predict", f"/{SERVICE}/PredictStream", f"/{PROTOCOL}/ModelInfer")
_ANSWERED, _STREAMS, _CALLS = 192, 256, 512
"""Calls that are answered at the same time; streams that are open, however idle; and all together, those whose message
is still on its way and health among them. More of these get RESOURCE_EXHAUSTED from gRPC itself, which counts them
nowhere."""
_STATUS = health_pb2.HealthCheckResponse.ServingStatus


class GrpcServer:
    """Inference, health and reflection at one address."""

    def __init__(self, settings: Settings, plane: DataPlane, address: str | None = None) -> None:
        self.address = address or f"{settings.grpc_host}:{settings.inference_grpc_port}"
        # By name, since the type stubs don't know the asyncio variant.
        self._health = import_module("grpc_health.v1.health").aio.HealthServicer()
        authenticator = Authenticator(settings)
        limit = Limit(_ANSWERED, _STREAMS, _INFERENCES)
        self._server = grpc.aio.server(
            # Who is turned away by the second is so before the first reads a message.
            interceptors=(Bounded(settings, authenticator), limit),
            options=(
                ("grpc.max_receive_message_length", settings.inference_request_bytes),
                ("grpc.max_send_message_length", settings.inference_request_bytes),
                ("grpc.so_reuseport", 0),  # a second server on our port must fail, not share it
            ),
            maximum_concurrent_rpcs=_CALLS,
        )
        self._ready = False
        add_InferenceServicer_to_server(Servicer(settings, plane), self._server)
        protocol = ProtocolServicer(settings, plane, lambda: self._ready)
        add_GRPCInferenceServiceServicer_to_server(protocol, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        names = (SERVICE, PROTOCOL, health, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, _described())

    async def start(self) -> None:
        """Listen; SystemExit when the address is taken."""
        try:
            self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise SystemExit(f"gRPC can't listen on {self.address}: {error}") from error
        await self.announce(ready=False)
        await self._server.start()

    async def announce(self, *, ready: bool) -> None:
        """What the health services say of us."""
        self._ready = ready
        status = _STATUS.SERVING if ready else _STATUS.NOT_SERVING
        for service in _SERVED:
            await self._health.set(service, status)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls; those under way may finish within `grace_s`."""
        self._ready = False
        async with asyncio.timeout(grace_s + 1):
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace_s)


def _described() -> DescriptorPool:
    """The definitions that we serve. Not the pool of the process: that has whatever else is imported in it."""
    pool = DescriptorPool()
    files: tuple[FileDescriptor, ...] = (
        inference_pb2.DESCRIPTOR,
        open_inference_grpc_pb2.DESCRIPTOR,
        health_pb2.DESCRIPTOR,
        reflection_pb2.DESCRIPTOR,
    )
    for file in files:
        pool.AddSerializedFile(file.serialized_pb)
    return pool
