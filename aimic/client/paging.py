"""Lists page by cursor; a caller sees one sequence."""

from collections.abc import Iterator
from typing import Any, TypeVar

from aimic.client.transport import Transport
from aimic.domain.base import Value

V = TypeVar("V", bound=Value)


def pages(transport: Transport, path: str, kind: type[V], limit: int = 200, **params: Any) -> Iterator[V]:
    """Every item of a list, page after page, fetched as they are asked for."""
    cursor: str | None = None
    while True:
        page = transport.get(path, limit=limit, cursor=cursor, **params)
        for item in page["items"]:
            yield kind.model_validate(item)
        cursor = page.get("next")
        if not cursor:
            return
