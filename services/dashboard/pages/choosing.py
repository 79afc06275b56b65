"""The form of the Train page: few questions, the rest folded away, and a sentence of what will happen."""

from typing import Any

import streamlit as st

from aimic.client import Client, StreamSource
from aimic.domain.dataset import DatasetVersion
from aimic.domain.model import Stage
from services.dashboard.components import notes
from services.dashboard.components.errors import plainly
from services.dashboard.views import training as view
from services.dashboard.views.markdown import plain


def form(server: Client, version: DatasetVersion) -> None:
    """Choose and start a training on `version`."""
    loud = [finding for finding in version.findings if finding.level == "warning"]
    if loud:
        with st.expander(f"Know before you start ({len(loud)})", icon=":material/warning:"):
            notes.findings(loud)
    networks = st.multiselect(
        "Network",
        list(view.ADVICE),
        default=["mobilenet_v2"],
        format_func=view.network_label,
        help="With several, each is trained and judged on the same images, so that you can compare them.",
        placeholder="Choose one or more",
    )
    left, right = st.columns(2, gap="large")
    with left:
        start = _start()
        weights = _weights(server, start)
    with right:
        depth, blocks = _depth(start)
    choices = _advanced(view.Choices(tuple(networks), start, weights, depth, blocks), version)
    st.info(plain(view.sentence(version, choices)), icon=":material/lightbulb:")
    if st.button("Start training", type="primary", icon=":material/play_arrow:", disabled=not networks):
        with plainly("start"):
            job = server.jobs.create(view.request(version.dataset, version.version, choices))
            st.query_params["job"] = job.id
            st.rerun()


def _start() -> view.Start:
    starts = list(view.STARTS)
    return st.radio("Begin with", starts, format_func=lambda start: view.STARTS[start])


def _weights(server: Client, start: view.Start) -> str | None:
    if start == "model":
        models = [model for model in server.models.list() if model.stage is not Stage.RETIRED]
        if not models:
            st.caption("You have no model yet: choose another beginning.")
            return None
        return st.selectbox("Which model?", [f"model:{m.name}:{m.version}" for m in models], format_func=_without_kind)
    if start == "file":
        file = st.file_uploader("Weights file (PyTorch state dictionary)", ["pth", "pt", "safetensors"])
        return _sent(server, file) if file else None
    return None


def _without_kind(reference: str) -> str:
    _, name, version = reference.split(":")
    return f"{name}, version {version}"


def _sent(server: Client, file: Any) -> str | None:
    """The name of the uploaded weights; sent once, although this script runs again for every change."""
    sent: dict[str, str] = st.session_state.setdefault("weights", {})
    if file.file_id not in sent:
        with plainly("weights"), st.spinner("Sending the weights …"):
            sent[file.file_id] = server.weights.upload(StreamSource(file, file.name))
    return sent.get(file.file_id)


def _depth(start: view.Start) -> tuple[view.Depth, int]:
    depths = view.Choices((), start).depths()
    depth = st.radio(
        "How thoroughly?",
        depths,
        format_func=lambda depth: view.DEPTHS[depth],
        captions=[view.DEPTH_HELP[depth] for depth in depths],
        key=f"depth-{len(depths)}",
    )
    blocks = 1
    if depth == "last":
        blocks = int(st.number_input("Blocks that learn", 1, 20, 2, width=160))
    return depth, blocks


def _advanced(choices: view.Choices, version: DatasetVersion) -> view.Choices:
    with st.expander("More: testing, epochs, model name", icon=":material/tune:"):
        left, right = st.columns(2, gap="large")
        with left:
            judging = _judging()
            model = st.text_input(
                "Name of the model",
                placeholder=f"{version.dataset}-{(choices.networks or ('network',))[0]}",
                help="Letters, digits, dots and dashes. A name that exists gets a new version.",
            )
        with right:
            numbers = _numbers()
    return view.Choices(
        choices.networks,
        choices.start,
        choices.weights,
        choices.depth,
        choices.blocks,
        **judging,
        model=model.strip() or None,
        advanced=numbers,
    )


_JUDGES = {
    "kfold": "Several rounds, so that every image is tested once (best)",
    "holdout": "One part set aside (quick)",
    "column": "Parts given in the labels table",
}


def _judging() -> dict[str, Any]:
    judge = st.radio("How to test", list(_JUDGES), format_func=lambda name: _JUDGES[name])
    chosen: dict[str, Any] = {"judge": judge}
    if judge == "kfold":
        chosen["folds"] = int(st.number_input("Rounds", 2, 50, 5, width=160))
    elif judge == "holdout":
        chosen["fraction"] = st.slider("Part set aside, %", 5, 50, 20) / 100
    else:
        chosen["column"] = st.text_input("Column of the labels table", "fold", width=240)
    chosen["lock_test"] = st.slider("Locked away for a last test, %", 0, 50, 0) / 100
    chosen["paper"] = st.checkbox(
        "Published protocol",
        help="Choose the best epoch on the test images themselves, as many papers do. It flatters the result, and it "
        "will be labelled so.",
    )
    return chosen


def _numbers() -> dict[str, Any]:
    st.caption("Empty means: AIMIC chooses.")
    return {
        "epochs": st.number_input("Epochs, at most", 1, 2000, None),
        "patience": st.number_input("Stop after so many epochs without progress", 1, 2000, None),
        "lr": st.number_input("Learning rate", 0.0, 10.0, None, format="%.5f", step=0.0001),
        "batch_size": st.number_input("Images at a time", 1, 1024, None),
        "image_size": st.number_input("Image size, pixels", 32, 1024, None),
        "optimizer": st.selectbox("Optimiser", ["adamw", "adam", "sgd"], index=None, placeholder="AIMIC chooses"),
        "seed": int(st.number_input("Seed", 0, 2**31 - 1, 0, help="The same seed gives the same result.")),
    }
