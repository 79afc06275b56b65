"""The client that the pages use."""

import streamlit as st

from aimic.client import Client, Retry
from services.dashboard.settings import settings

GIVEN = "aimic_client"
"""Key of the session state under which a client may be handed in."""


def client() -> Client:
    """The client of this session: the one handed in, else the process's own, which all visitors share."""
    given = st.session_state.get(GIVEN)
    return given if isinstance(given, Client) else _shared()


@st.cache_resource(show_spinner=False)
def _shared() -> Client:
    chosen = settings()
    # A page would rather say soon that the server is away than hang; it tries again by itself (errors.py).
    return Client(
        chosen.ingest_url,
        chosen.key(),
        inference=chosen.inference_url,
        timeout_s=20.0,
        retry=Retry(attempts=3, first_s=0.2, patience_s=2.0),
    )
