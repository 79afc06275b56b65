"""Example pictures of each class."""

from concurrent.futures import ThreadPoolExecutor

import streamlit as st

from aimic.client import Client
from aimic.domain.dataset import DatasetVersion
from aimic.errors import AimicError
from services.dashboard.views.markdown import plain
from services.dashboard.views.words import plural

EACH = 6
PIXELS = 96
MOST_CLASSES = 24
"""Classes shown; each picture is a request."""


@st.cache_data(show_spinner=False, max_entries=64)
def _thumbnails(_client: Client, name: str, version: int, classes: tuple[str, ...]) -> list[list[bytes]]:
    """PNG pictures per class. A version never changes, so this is asked once."""

    def of_class(label: str) -> list[bytes]:
        samples = _client.datasets.some_samples(name, version, label, EACH)
        return [_client.datasets.image(name, sample.sha256, PIXELS) for sample in samples]

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(of_class, classes))


def examples(client: Client, version: DatasetVersion) -> None:
    """A row of pictures for every class."""
    try:
        pictures = _thumbnails(client, version.dataset, version.version, version.classes[:MOST_CLASSES])
    except AimicError as error:
        st.caption(f"The pictures can't be shown just now: {plain(error.message)}")
        return
    for label, count, row in zip(version.classes, version.counts, pictures, strict=False):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{plain(label)}**  \n{plural(count, 'image')}", width=150)
            for number, picture in enumerate(row, start=1):
                st.image(picture, width=72, alt=f"{label}, example {number}")
    if len(version.classes) > MOST_CLASSES:
        st.caption(f"The other {len(version.classes) - MOST_CLASSES} classes are not shown here.")
