"""Lists page by cursor: an opaque text that says after which row to go on."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from aimic.errors import InvalidInputError

Item = TypeVar("Item")
Row = TypeVar("Row")
CursorPart = str | int


class Page(BaseModel, Generic[Item]):
    """One page; `next` is the cursor of the next one, None at the end."""

    items: list[Item]
    next: str | None = None


class PageRequest(BaseModel):
    """`?limit=&cursor=` of a request."""

    limit: int
    cursor: str | None = None

    def after(self, parts: int = 1) -> tuple[CursorPart, ...] | None:
        """The cursor's values, exactly `parts` of them; None for the first page."""
        if self.cursor is None:
            return None
        try:
            values = json.loads(base64.urlsafe_b64decode(self.cursor.encode()))
        except (ValueError, binascii.Error) as error:
            raise InvalidInputError("This cursor is not one of ours; begin again without it.") from error
        if not isinstance(values, list) or len(values) != parts or not all(isinstance(v, str | int) for v in values):
            raise InvalidInputError("This cursor belongs to another list; begin again without it.")
        return tuple(values)


def page_request(
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> PageRequest:
    """FastAPI dependency."""
    return PageRequest(limit=limit, cursor=cursor)


Paging = Annotated[PageRequest, Depends(page_request)]


def cut(
    rows: Sequence[Row],
    page: PageRequest,
    show: Callable[[Row], Item],
    position: Callable[[Row], tuple[CursorPart, ...]],
) -> Page[Item]:
    """A page of `rows`, of which one more than `page.limit` were asked for; `position` is a row's cursor."""
    shown = rows[: page.limit]
    more = len(rows) > page.limit
    text = json.dumps(position(shown[-1])).encode() if more else b""
    following = base64.urlsafe_b64encode(text).decode() if more else None
    return Page(items=[show(row) for row in shown], next=following)
