"""Findings, head numbers and refused files: the same wherever they appear."""

from collections.abc import Sequence

import streamlit as st

from aimic.domain.dataset import Finding, Refusal
from services.dashboard.views import datasets as view
from services.dashboard.views.markdown import plain


def findings(of: Sequence[Finding]) -> None:
    """What a person should know, the loud ones first."""
    for note in view.notes(of):
        with st.container(horizontal=True, gap="small", wrap=False):
            st.markdown(f":{note.colour}[{note.icon}]", width="content")
            st.markdown(plain(note.text))


def facts(of: Sequence[view.Fact]) -> None:
    """Numbers side by side."""
    for column, fact in zip(st.columns(len(of)), of, strict=True):
        column.metric(fact.label, fact.value, help=fact.help, border=True)


def refused(files: Sequence[Refusal], name: str, key: str) -> None:
    """The files that did not go in, with reasons, to look at and to take along."""
    rows = [{"File": file, "Why": reason} for file, reason in view.refused_rows(files)]
    st.dataframe(rows, hide_index=True, height=min(320, 38 + 35 * len(rows)), key=f"refused-{key}")
    st.download_button(
        "Download this list",
        view.refused_csv(files),
        f"{name}-refused.csv",
        "text/csv",
        icon=":material/download:",
        key=f"refused-csv-{key}",
        on_click="ignore",
    )
