"""Errors on a page: what happened, what was kept, what to do; never a trace."""

import contextlib
import logging
import time
from collections.abc import Iterator

import streamlit as st

from aimic.errors import AimicError
from services.dashboard.views.words import trouble

logger = logging.getLogger(__name__)

AGAIN_S = 5.0
"""Seconds after which a page that could not be shown is tried again."""


def show(error: AimicError, key: str = "page", by_itself: bool = False) -> None:
    """Say what happened; offer another try where it may help, or (`by_itself`) make it after a while."""
    said = trouble(error)
    reference = f"\n\nFor support: `{said.reference}`" if said.reference else ""
    st.error(f"**{said.title}**\n\n{said.text}{reference}", icon=":material/error:")
    if said.again:
        st.button("Try again", icon=":material/refresh:", key=f"again-{key}")
        if by_itself:
            _come_back(time.monotonic())


@st.fragment(run_every=AGAIN_S)
def _come_back(shown_at: float) -> None:
    if time.monotonic() - shown_at >= AGAIN_S / 2:
        st.rerun()
    st.caption("This page tries again by itself every few seconds.")


@contextlib.contextmanager
def plainly(key: str = "page", by_itself: bool = False) -> Iterator[None]:
    """Show an AimicError from within, and go on after it; `by_itself` as in `show`."""
    try:
        yield
    except AimicError as error:
        logger.warning("shown to a person", extra={"code": error.code, "detail": error.message})
        show(error, key, by_itself)


def script_failed(error: Exception) -> bool:
    """What we didn't foresee: the log gets the trace, the person a sentence."""
    logger.error("a page failed", exc_info=error)
    st.error(
        "**This page has a fault**\n\nWhat you saved is kept. Reload the page; if this comes back, tell whoever looks "
        "after AIMIC what you did last.",
        icon=":material/error:",
    )
    return True
