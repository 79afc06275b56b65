"""The Train page: choose, start, watch, stop."""

import streamlit as st

from aimic.client import Client
from aimic.domain.dataset import Dataset
from services.dashboard.components import links
from services.dashboard.components.connection import client
from services.dashboard.components.errors import plainly
from services.dashboard.pages import choosing, watching
from services.dashboard.views import jobs as view
from services.dashboard.views.markdown import plain

SHOWN = 12


def show() -> None:
    """The page."""
    st.title("Train")
    with plainly(by_itself=True):
        server = client()
        watched = st.query_params.get("job")
        if watched:
            with plainly("job", by_itself=True):
                watching.job(server, watched)
            # Outside, so that there is a way back from a training that is not there.
            if st.button("All trainings", icon=":material/arrow_back:"):
                del st.query_params["job"]
                st.rerun()
            return
        sets = [dataset for dataset in server.datasets.list() if dataset.latest is not None]
        if not sets:
            st.markdown("There are no images to learn from yet.")
            links.to("Data", "Bring in images first", "to-data")
            return
        _new(server, sets)
        _past(server)


def _new(server: Client, sets: list[Dataset]) -> None:
    with st.container(border=True):
        st.subheader("New training")
        names = [dataset.name for dataset in sets]
        wished = st.query_params.get("set")
        name = st.selectbox("Data set", names, index=names.index(wished) if wished in names else 0, width=420)
        version = next(dataset.latest for dataset in sets if dataset.name == name)
        assert version is not None
        choosing.form(server, version)


def _past(server: Client) -> None:
    st.subheader("Trainings")
    everything = st.session_state.get("all-jobs", False)
    # One more than is shown tells whether there are more.
    jobs = server.jobs.list(None if everything else SHOWN + 1)
    if not jobs:
        st.caption("None yet. Press Start above; you can watch it here and close the page meanwhile.")
        return
    for job in jobs if everything else jobs[:SHOWN]:
        with st.container(border=True):
            words, button = st.columns([6, 1], vertical_alignment="center")
            words.markdown(
                f"{view.STATUS_ICONS[job.status]} **{plain(view.title(job))}**  \n"
                f"{view.job_line(job)} · {job.created_at.astimezone():%d %b, %H:%M}"
            )
            if button.button("Look", key=f"look-{job.id}", icon=":material/visibility:", width="stretch"):
                st.query_params["job"] = job.id
                st.rerun()
    if len(jobs) > SHOWN and not everything:
        st.button("Show older ones", on_click=lambda: st.session_state.update({"all-jobs": True}))
