"""Bringing images in: the form, and the import while it runs."""

import time
from typing import Any

import streamlit as st

from aimic.client import Client, Source, StreamSource, Wait
from aimic.domain.dataset import Import, ImportStatus, LabelRule, Upload
from services.dashboard.components import notes
from services.dashboard.components.errors import plainly
from services.dashboard.views import imports as view
from services.dashboard.views.markdown import plain
from services.dashboard.views.packing import pack

FORMATS = ["zip", "tar", "gz", "tgz", "jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "gif"]


def form(server: Client, names: list[str]) -> None:
    """Choose files, say what they are, start."""
    generation = st.session_state.setdefault("form", 0)
    how = st.segmented_control(
        "What do you have?",
        ["A folder", "A zip file or single images"],
        default="A folder",
        required=True,
        help="In a folder or zip, each class has its own folder, which names it.",
    )
    whole_folder = how == "A folder"
    files = st.file_uploader(
        "Choose the folder with your images" if whole_folder else "Choose a zip file, or images",
        FORMATS,
        accept_multiple_files="directory" if whole_folder else True,
        key=f"files-{whole_folder}-{generation}",
    )
    name = st.selectbox(
        "Name of the data set",
        names,
        index=None,
        placeholder="Type a new name, or choose one",
        accept_new_options=True,
        help="Choosing one that exists adds these images to it.",
        key=f"name-{generation}",
        width=420,
    )
    rule = _more(generation)
    chosen = view.chosen([file.name for file in files or []])
    one_class = _one_class(generation) if view.needs_class(chosen, _names_labels(rule)) else None
    missing = _missing(files, name, one_class)
    if missing:
        st.caption(missing)
    if st.button("Import", type="primary", icon=":material/upload:", disabled=bool(missing)):
        with plainly("import"):
            _start(server, str(name), _sources(files, chosen, one_class), rule)


def _missing(files: Any, name: str | None, one_class: str | None) -> str:
    if not files:
        return "Choose files to go on."
    if not (name or "").strip():
        return "Give the data set a name to go on."
    if one_class == "":
        return "Say what the images show to go on."
    return ""


def _one_class(generation: int) -> str:
    said = st.text_input(
        "All these images show …",
        placeholder="one class, such as neutrophil",
        key=f"class-{generation}",
        help="They are not in folders, so nothing says their class. For several classes at once, use a folder, a zip "
        "or a labels table (under More).",
        width=420,
    )
    return said.strip().strip("/\\")


def _more(generation: int) -> LabelRule:
    with st.expander("More: labels from a table, patients", icon=":material/tune:"):
        table = st.file_uploader(
            "Labels table (CSV)",
            ["csv"],
            key=f"csv-{generation}",
            help="A header, then a row per image: the columns file and label, and if you have them patient and fold.",
        )
        patients = st.text_input(
            "How file names tell the patient",
            placeholder=r"for example  UID_(\w+?)_",
            key=f"groups-{generation}",
            help="A regular expression; the part in brackets is the patient or slide. Images of one patient are then "
            "never on both sides of a test.",
        )
        labels = st.text_input(
            "How file names tell the class",
            placeholder=r"for example  _(?P<label>[01])\.",
            key=f"labels-{generation}",
            help="A regular expression with a part called label. Leave it empty where folders name the classes.",
        )
    text = view.table_text(table.getvalue()) if table else None
    return LabelRule(labels_csv=text, group_pattern=patients.strip() or None, label_pattern=labels.strip() or None)


def _names_labels(rule: LabelRule) -> bool:
    return rule.labels_csv is not None or rule.label_pattern is not None


def _sources(files: Any, chosen: view.Chosen, one_class: str | None) -> list[Source]:
    sources: list[Source] = [StreamSource(files[i], files[i].name) for i in chosen.archives]
    if chosen.loose:
        folder = f"{one_class}/" if one_class else ""
        stream = pack((folder + files[i].name, files[i].getvalue()) for i in chosen.loose)
        sources.append(StreamSource(stream, "images.zip"))
    return sources


def _start(server: Client, name: str, sources: list[Source], rule: LabelRule) -> None:
    bar = st.progress(0.0, "Sending …")
    done: list[Upload] = []
    for source in sources:

        def told(sent: int, total: int) -> None:
            line = view.sending(sent, total)
            bar.progress(line.fraction, line.text)

        def waits(wait: Wait) -> None:
            line = view.waiting(wait)
            bar.progress(line.fraction, line.text)

        done.append(server.uploads.send(source, progress=told, waiting=waits))
    started = server.datasets.start_import([upload.id for upload in done], name.strip(), rule)
    st.session_state["form"] += 1
    # In the address, so that a reload of the page finds the import again.
    st.query_params["import"] = started.id
    st.rerun()


def running(server: Client) -> bool:
    """The import named in the address: its progress, then its outcome until it is put away; whether there is one."""
    import_id = st.query_params.get("import")
    if import_id is None:
        return False
    with plainly("import-state", by_itself=True), st.container(border=True):
        state = server.datasets.show_import(import_id)
        if state.status in {ImportStatus.DONE, ImportStatus.FAILED}:
            _outcome(server, state)
        else:
            st.markdown(f"**Importing {plain(state.dataset)}**")
            _follow(server, import_id)
            st.caption("You can close this page: the import goes on.")
    return True


@st.fragment(run_every=1)
def _follow(server: Client, import_id: str) -> None:
    with plainly("import-follow"):
        state = server.datasets.show_import(import_id)
        if state.status in {ImportStatus.DONE, ImportStatus.FAILED}:
            st.query_params["set"] = state.dataset
            st.rerun()
        line = view.checking(state, time.time() - state.created_at.timestamp())
        st.progress(line.fraction, line.text)


def _outcome(server: Client, state: Import) -> None:
    if state.status is ImportStatus.FAILED:
        st.error(
            f"**The import of {plain(state.dataset)} stopped**\n\n{plain(view.outcome(state))}", icon=":material/error:"
        )
    else:
        st.success(f"**{plain(state.dataset)} is ready.** {view.outcome(state)}", icon=":material/check_circle:")
    if state.refused:
        with st.expander("What was refused, and why", expanded=state.status is ImportStatus.FAILED):
            notes.refused(server.datasets.import_refused(state.id), state.dataset, "import")
    if st.button("Close", key="close-import"):
        del st.query_params["import"]
        st.rerun()
