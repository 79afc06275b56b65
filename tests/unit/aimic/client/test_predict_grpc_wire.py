"""How a gRPC call that failed tells when to come again, whoever ended it."""

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from aimic.client.predict_grpc_wire import failed
from aimic.errors import OverloadedError, UnavailableError
from aimic.rpc.v1 import inference_pb2 as wire


def ended(code: grpc.StatusCode, *trailing: tuple[str, str | bytes]) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(*trailing), "in words", "")


@pytest.mark.parametrize(
    ("trailing", "seconds"),
    [
        ([("retry-after", "7")], 7),
        ([("grpc-retry-pushback-ms", "1500")], 1.5),
        ([("retry-after", "7"), ("grpc-retry-pushback-ms", "1500")], 7),
        ([("grpc-retry-pushback-ms", "-1")], None),  # "don't", as that proposal has it
        ([("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], None),
        ([("other", "7")], None),
        ([], None),
    ],
)
def test_who_ends_a_call_says_when_to_come_again(trailing: list[tuple[str, str]], seconds: float | None) -> None:
    refused = failed(ended(grpc.StatusCode.UNAVAILABLE, *trailing), "there")
    assert isinstance(refused.error, UnavailableError) and refused.wished_s == seconds


def test_our_own_problem_says_it_best() -> None:
    problem = wire.Problem(code="overloaded", message="Busy.", request_id="r", retry_after_seconds=3)
    trailing = (("retry-after", "7"), ("aimic-problem-bin", problem.SerializeToString()))
    refused = failed(ended(grpc.StatusCode.RESOURCE_EXHAUSTED, *trailing), "there")
    assert isinstance(refused.error, OverloadedError) and refused.wished_s == 3
