"""The Data page: bring images in, see what they are and what is wrong with them."""

import streamlit as st

from aimic.client import Client
from aimic.domain.dataset import Dataset, DatasetVersion
from services.dashboard.components import gallery, links, notes
from services.dashboard.components.connection import client
from services.dashboard.components.errors import plainly
from services.dashboard.pages import importing
from services.dashboard.views import charts, words
from services.dashboard.views import datasets as view


def show() -> None:
    """The page."""
    st.title("Data")
    with plainly(by_itself=True):
        server = client()
        busy = importing.running(server)
        sets = [dataset for dataset in server.datasets.list() if dataset.latest is not None]
        if not sets and not busy:
            st.markdown(
                "Nothing here yet. Bring in images of cells to begin: "
                "AIMIC checks them and tells you what it found before anything is trained."
            )
        with st.expander("Add images", icon=":material/add_photo_alternate:", expanded=not sets and not busy):
            importing.form(server, [dataset.name for dataset in sets])
        if sets:
            _dataset(server, sets)


def _dataset(server: Client, sets: list[Dataset]) -> None:
    names = [dataset.name for dataset in sets]
    wished = st.query_params.get("set")
    name = st.selectbox("Data set", names, index=names.index(wished) if wished in names else 0, width=420)
    version = next(dataset.latest for dataset in sets if dataset.name == name)
    assert version is not None
    notes.facts(view.facts(version))
    left, right = st.columns([2, 3], gap="large")
    with left:
        _findings(version)
        links.to("Train", "Train with these images", "to-train", set=version.dataset)
    with right:
        st.subheader("Images per class")
        st.altair_chart(charts.class_counts(view.counts(version)), alt=_counts_in_words(version))
    st.subheader("Examples")
    gallery.examples(server, version)
    if version.refused:
        st.subheader("Files that were refused")
        st.caption("All others went in. Mend these and import them again if you need them.")
        notes.refused(server.datasets.refused(version.dataset, version.version), version.dataset, "version")


def _findings(version: DatasetVersion) -> None:
    st.subheader("What to know before training")
    if version.findings:
        notes.findings(version.findings)
    else:
        st.markdown(":green[:material/check_circle:] Nothing stands out.")


def _counts_in_words(version: DatasetVersion) -> str:
    rows = view.counts(version)
    return words.listed([f"{row['images']} of {row['label']}" for row in rows])
