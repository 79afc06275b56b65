"""Ways from one page to the next."""

import streamlit as st


def to(title: str, label: str, key: str, **query: str) -> None:
    """A button that leads to the page called `title`, with what it should show."""
    if st.button(label, key=key, type="primary", icon=":material/arrow_forward:", icon_position="right"):
        page = st.session_state.get("pages", {}).get(title)
        if page is not None:
            st.switch_page(page, query_params=query)
