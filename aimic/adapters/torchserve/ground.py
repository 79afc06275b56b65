"""The directory in which TorchServe works, and how it is set: all of it is ours, and only we may enter.

Its three surfaces are Unix sockets in that directory, so that no port is open and none can be taken; its gRPC, which
can't be switched off, listens on a free port of the loopback and asks for the same tokens.
"""

import fcntl
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path

from aimic.adapters.torchserve.java import find_java
from aimic.domain.base import Value

SURFACES = ("inference", "management", "metrics")
LARGEST_BODY = 64 * 2**20
"""Bytes of one request: 32 images of 800 × 800."""
_PREFIX = "aimic-ts-"
_LOCK = "lock"
"""Held by the process whose directory it is, for as long as it lives."""
_LONGEST_PATH = 107
"""Of a Unix socket's name, in bytes."""
_KEPT = (
    "PATH",
    "LANG",
    "LC_",
    "LD_",
    "OMP_",
    "KMP_",
    "MKL_",
    "ONEDNN_",
    "DNNL_",
    "CUDA_",
    "NVIDIA_",
    "TORCH",
    "PYTORCH_",
)
"""What TorchServe and its workers are told of our environment; secrets are not among it."""

_LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%p %c{1}: %m%n%throwable{short}"/></Console>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_LOG" level="info"/>
    <Logger name="io.netty" level="error"/>
    <Root level="warn"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"""
_METRICS = """dimensions:
  - &model "ModelName"
  - &worker "WorkerName"
  - &level "Level"
  - &host "Hostname"
  - &name "model_name"
  - &version "model_version"
  - &machine "hostname"
ts_metrics:
  counter:
    - {name: Requests2XX, unit: Count, dimensions: [*level, *host]}
    - {name: Requests4XX, unit: Count, dimensions: [*level, *host]}
    - {name: Requests5XX, unit: Count, dimensions: [*level, *host]}
    - {name: ts_inference_requests_total, unit: Count, dimensions: [*name, *version, *machine]}
    - {name: ts_inference_latency_microseconds, unit: Microseconds, dimensions: [*name, *version, *machine]}
    - {name: ts_queue_latency_microseconds, unit: Microseconds, dimensions: [*name, *version, *machine]}
  gauge:
    - {name: QueueTime, unit: Milliseconds, dimensions: [*level, *host]}
    - {name: WorkerThreadTime, unit: Milliseconds, dimensions: [*level, *host]}
    - {name: WorkerLoadTime, unit: Milliseconds, dimensions: [*worker, *level, *host]}
model_metrics:
  gauge:
    - {name: PredictionTime, unit: ms, dimensions: [*model, *level]}
"""


class Settings(Value):
    """What may be chosen; the tests choose shorter times."""

    directory: Path | None = None
    """Where the working directory is made; the machine's directory for temporary files when not given."""
    threads: int
    """Threads that a network computes with."""
    token_minutes: float = 60.0
    """How long a token is good for. They are renewed at half of it."""
    worker_s: float = 60.0
    """Seconds that one batch may take before its worker is killed and started again."""
    start_s: float = 120.0
    """Seconds that the front, and each worker with its model, may take to start."""
    manage_s: float = 10.0
    """Seconds that a question about models may take; TorchServe that answers none of three is started again."""
    deaths: int = 3
    """Deaths of a model's workers within `deaths_s` seconds that fence it."""
    deaths_s: float = 120.0
    recover_s: float = 120.0
    """Seconds that a model may be without a ready worker before it is fenced."""
    fenced_s: float = 10.0
    """Seconds of the first fence; each further one is twice as long, up to five minutes."""


class Ground:
    """A fresh directory with TorchServe's settings in it. Only this user may look inside."""

    def __init__(self, settings: Settings) -> None:
        """Make it. SystemExit without Java or TorchServe, or when the sockets' names would be too long."""
        self._java, self._home = find_java(), _home()
        base = settings.directory or Path(tempfile.gettempdir())
        base.mkdir(parents=True, exist_ok=True)
        _sweep(base)
        self.directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
        self.store = self.directory / "store"
        self.temporary = self.directory / "tmp"
        self.key_file = self.directory / "key_file.json"
        self._settings = settings
        if len(os.fsencode(self.temporary / ".ts.sock.99999")) > _LONGEST_PATH:
            self.directory.rmdir()
            raise SystemExit(
                f"AIMIC_PREDICTOR_URL: {base} is too long a name for TorchServe's sockets. Choose a directory with a "
                "shorter one. Nothing was started."
            )
        self._lock = _locked(self.directory)
        self.store.mkdir()
        self._write()

    def remove(self) -> None:
        """Remove all of it."""
        self._lock.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def clean(self) -> None:
        """Remove what an earlier TorchServe left here; the archives stay."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        for left in (self.key_file, *map(self.socket, SURFACES)):
            left.unlink(missing_ok=True)

    def socket(self, surface: str) -> Path:
        """Where `inference`, `management` or `metrics` is answered."""
        return self.directory / surface

    def command(self) -> list[str]:
        """What starts the front."""
        home = self._home
        return [
            str(self._java),
            "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Xms64m", "-Xmx1g",
            "-XX:-UsePerfData",  # it would write to /tmp, whatever we say
            f"-Dmodel_server_home={home}",
            f"-Dlog4j.configurationFile=file://{self.directory}/log4j2.xml",
            f"-Djava.io.tmpdir={self.temporary}",
            f"-Dio.netty.native.workdir={self.temporary}",
            "-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer",
            "--python", sys.executable, "-f", f"{self.directory}/config.properties", "-s", str(self.store), "-ncs",
        ]  # fmt: skip

    def environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        """What it and its workers see: the same modules as we, a home of their own, and threads that sleep."""
        home = str(self.temporary)
        return {name: value for name, value in ours.items() if name.startswith(_KEPT)} | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "OMP_WAIT_POLICY": "passive",
            "OMP_NUM_THREADS": str(self._settings.threads),
            "HOME": home,
            "TMPDIR": home,
            "XDG_CACHE_HOME": f"{home}/cache",
            "TORCHINDUCTOR_CACHE_DIR": f"{home}/inductor",
        }

    def _write(self) -> None:
        (self.directory / "log4j2.xml").write_text(_LOG4J)
        (self.directory / "metrics.yaml").write_text(_METRICS)
        lines = (f"{name}={value}\n" for name, value in self._properties().items())
        (self.directory / "config.properties").write_text("".join(lines))

    def _properties(self) -> dict[str, str]:
        settings = self._settings
        sockets = {f"{name}_address": f"unix:{self.socket(name)}" for name in SURFACES}
        return sockets | {
            "grpc_inference_address": "127.0.0.1",
            "grpc_management_address": "127.0.0.1",
            "grpc_inference_port": "0",
            "grpc_management_port": "0",
            "disable_token_authorization": "false",
            "token_expiration_min": repr(settings.token_minutes),
            "enable_model_api": "true",
            "allowed_urls": "file:///none",
            "install_py_dep_per_model": "false",
            "model_store": str(self.store),
            "number_of_gpu": "0",  # the handler takes the GPU itself
            "default_workers_per_model": "1",
            "job_queue_size": "100",
            "max_request_size": str(LARGEST_BODY + 2**16),
            "max_response_size": str(LARGEST_BODY),
            "default_startup_timeout": str(round(settings.start_s)),
            "unregister_model_timeout": "10",
            "metrics_mode": "prometheus",
            "metrics_config": f"{self.directory}/metrics.yaml",
            "disable_system_metrics": "true",
        }


def _locked(directory: Path) -> TextIOWrapper:
    """Our lock on it, which appears held."""
    work = directory / f".{_LOCK}"
    lock = work.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    work.rename(directory / _LOCK)
    return lock


def _sweep(base: Path) -> None:
    """Remove what a process left behind that was killed together with its guardian."""
    for left in base.glob(f"{_PREFIX}*"):
        try:
            with (left / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        except OSError:  # somebody works there, is about to, or it is another user's
            continue


def _home() -> Path:
    """The directory of the package torchserve, which is called ts."""
    found = importlib.util.find_spec("ts")
    home = Path(found.origin).resolve().parents[1] if found is not None and found.origin else None
    if home is None or not (home / "ts/frontend/model-server.jar").is_file():
        raise SystemExit(
            "TorchServe is not installed here. Install it with pip install 'aimic[torchserve]', or set "
            "AIMIC_PREDICTOR_URL=local://. Nothing was started."
        )
    return home
