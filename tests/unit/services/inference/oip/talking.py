"""What the tests of the protocol by REST send, and how they read what comes back."""

import base64
import json
import struct
from typing import Any

import httpx
import numpy as np

CLASSES = ["round", "lobed", "granular"]
INFER = "/v2/models/cells/infer"
LENGTH = "inference-header-content-length"


def base64_of(*images: bytes) -> list[str]:
    return [base64.b64encode(image).decode() for image in images]


def asking(*images: bytes, **more: Any) -> dict[str, Any]:
    given = {"name": "images", "datatype": "BYTES", "shape": [len(images)], "data": base64_of(*images)}
    return {"inputs": [given], **more}


def binary(request: dict[str, Any], raw: bytes) -> tuple[bytes, dict[str, str]]:
    """A body with a binary tensor, and its headers."""
    request["inputs"][0] |= {"parameters": {"binary_data_size": len(raw)}}
    request["inputs"][0].pop("data", None)
    text = json.dumps(request).encode()
    return text + raw, {LENGTH: str(len(text)), "content-type": "application/octet-stream"}


def behind_lengths(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def tensors_of(answer: httpx.Response) -> dict[str, Any]:
    """The outputs of a response, in either form, by name."""
    length = int(answer.headers.get(LENGTH, len(answer.content)))
    found, rest = {}, answer.content[length:]
    for output in json.loads(answer.content[:length])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = output["data"]
        else:
            raw, rest = rest[:size], rest[size:]
            values = elements_of(raw) if output["datatype"] == "BYTES" else numbers_of(raw, output["datatype"])
        found[output["name"]] = np.array(values, object).reshape(output["shape"]).tolist()
    assert not rest
    return found


def elements_of(raw: bytes) -> list[str]:
    found = []
    while raw:
        end = 4 + struct.unpack_from("<I", raw)[0]
        found.append(raw[4:end].decode())
        raw = raw[end:]
    return found


def numbers_of(raw: bytes, datatype: str) -> list[Any]:
    return list(np.frombuffer(raw, {"FP32": "<f4", "BOOL": "?"}[datatype]).tolist())


def is_error(answer: httpx.Response, status: int, words: str) -> bool:
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-request-id"]
    body = answer.json()
    assert list(body) == ["error", "code", "request_id"]
    assert words in body["error"] and body["code"] and body["request_id"] == answer.headers["x-request-id"], body
    return answer.status_code == status
