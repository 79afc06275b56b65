"""One log: Streamlit gives its own loggers, uvicorn's too, handlers that write plain lines past ours."""

import logging

_THEIRS = ("streamlit", "uvicorn", "websockets")


def gather() -> None:
    """Let every logger of Streamlit and uvicorn speak through the root's handler. Call it once both are imported."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _THEIRS:
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
