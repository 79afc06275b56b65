"""Errors on a page: what happened, what was kept, what to do; never a trace."""

import contextlib
import logging
from collections.abc import Iterator

import streamlit as st

from aimic.errors import AimicError
from services.dashboard.views.words import trouble

logger = logging.getLogger(__name__)


def show(error: AimicError, key: str = "page") -> None:
    """Say what happened; offer another try where it may help."""
    said = trouble(error)
    reference = f"\n\nFor support: `{said.reference}`" if said.reference else ""
    st.error(f"**{said.title}**\n\n{said.text}{reference}", icon=":material/error:")
    if said.again:
        st.button("Try again", icon=":material/refresh:", key=f"again-{key}")


@contextlib.contextmanager
def plainly(key: str = "page") -> Iterator[None]:
    """Show an AimicError from within, and go on after it."""
    try:
        yield
    except AimicError as error:
        logger.warning("shown to a person", extra={"code": error.code, "detail": error.message})
        show(error, key)


def script_failed(error: Exception) -> bool:
    """What we didn't foresee: the log gets the trace, the person a sentence."""
    logger.error("a page failed", exc_info=error)
    st.error(
        "**This page has a fault**\n\nWhat you saved is kept. Reload the page; if this comes back, tell whoever looks "
        "after AIMIC what you did last.",
        icon=":material/error:",
    )
    return True
