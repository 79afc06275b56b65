"""Ports and addresses of the embedded mode, and the environment it hands to each part."""

from pathlib import Path

from aimic.settings import Settings


class LocalSettings(Settings):
    """`AIMIC_PORT` is the front; the others stand behind it. Every one can be changed."""

    port: int = 8080
    ingest_port: int = 8000
    inference_port: int = 8001
    inference_grpc_port: int = 8002
    dashboard_port: int = 8501
    front_ops_port: int = 9080
    ingest_ops_port: int = 9000
    inference_ops_port: int = 9001
    trainer_ops_port: int = 9003
    dashboard_ops_port: int = 9501
    server: str | None = None
    """Address the command line talks to; without it the platform running on this home, or port 8080."""

    @property
    def lock_file(self) -> Path:
        """Held while a platform runs on this home; holds its process id and address."""
        return self.home / "up.json"

    @property
    def front_url(self) -> str:
        """The one address for browsers and clients."""
        return f"http://{_reachable(self.host)}:{self.port}"

    def ports(self) -> dict[str, int]:
        """Every port that `aimic up` binds, by what it is for."""
        fields = type(self).model_fields
        return {name: getattr(self, name) for name in fields if name == "port" or name.endswith("_port")}

    def child_environment(self) -> dict[str, str]:
        """`AIMIC_…` variables for all parts."""
        environment = {f"AIMIC_{name.upper()}": str(port) for name, port in self.ports().items()}
        environment |= {
            "AIMIC_HOME": str(self.home),
            "AIMIC_INGEST_URL": f"http://127.0.0.1:{self.ingest_port}",
            "AIMIC_INFERENCE_URL": f"http://127.0.0.1:{self.inference_port}",
            # Logs come through a pipe; without this Python would hold them back.
            "PYTHONUNBUFFERED": "1",
            # Threads that spin while they wait make torch a hundred times slower beside a busy neighbour.
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        if self.weights_dir is not None:
            environment["AIMIC_WEIGHTS_DIR"] = str(self.weights_dir.absolute())
        return environment


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
