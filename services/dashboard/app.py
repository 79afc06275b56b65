"""What the dashboard's process is made of."""

from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp
from streamlit.starlette import App
from streamlit.web import bootstrap

from aimic.auth import Authenticator
from aimic.web import RequestContext
from services.dashboard.components.errors import script_failed
from services.dashboard.doorkeeper import Doorkeeper
from services.dashboard.settings import Settings

SCRIPT = Path(__file__).parent / "shell" / "main.py"
"""Not beside `pages/`: Streamlit would take that folder for its own older kind of pages."""


def create_app(settings: Settings) -> ASGIApp:
    """The ASGI application; one a process, since Streamlit's options are global."""
    bootstrap.load_config_options({name.replace(".", "_"): value for name, value in options(settings).items()})
    app: ASGIApp = App(
        SCRIPT,
        middleware=[
            Middleware(RequestContext, service="dashboard"),
            Middleware(Doorkeeper, authenticator=Authenticator(settings)),
        ],
        on_script_error=script_failed,
    )
    return app


def options(settings: Settings) -> dict[str, Any]:
    """Streamlit's options: nothing is sent anywhere, nothing is watched, no developer's menus, our colours."""
    return {
        "server.headless": True,
        "server.address": settings.host,
        "server.port": settings.dashboard_port,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.maxUploadSize": settings.dashboard_upload_mb,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "browser.gatherUsageStats": False,
        "logger.level": "warning",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "runner.magicEnabled": False,
        "theme.base": "light",
        "theme.primaryColor": "#0B6B6B",
        "theme.backgroundColor": "#FFFFFF",
        "theme.secondaryBackgroundColor": "#F1F5F5",
        "theme.textColor": "#16262B",
        "theme.linkColor": "#0B6B6B",
        "theme.borderColor": "#C9D6D6",
        "theme.baseRadius": "medium",
        "theme.headingFontWeights": [650, 600, 600],
        "theme.headingFontSizes": ["2rem", "1.35rem", "1.1rem"],
    }
