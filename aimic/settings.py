"""The settings all processes share. The environment is read here and in services/*/settings.py, nowhere else."""

import os
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

OtlpProtocol = Literal["http/protobuf", "grpc"]
_PROTOCOLS = get_args(OtlpProtocol)


class Settings(BaseSettings):
    """`AIMIC_…` variables; a secret may also come from the file named by `AIMIC_…_FILE`."""

    model_config = SettingsConfigDict(env_prefix="AIMIC_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=lambda: Path.home() / ".aimic")
    """Where the embedded mode keeps everything."""
    blobs_url: str = ""
    events_url: str = ""
    records_url: str = ""
    predictor_url: str = "local://"
    ingest_url: str = "http://127.0.0.1:8000"
    inference_url: str = "http://127.0.0.1:8001"
    s3_access_key: SecretStr | None = None
    s3_access_key_file: Path | None = None
    s3_secret_key: SecretStr | None = None
    s3_secret_key_file: Path | None = None
    """Credentials of an `s3+http(s)://host[:port]/bucket[?region=…]` in AIMIC_BLOBS_URL; never part of the address."""
    s3_ca_file: Path | None = None
    """Certificates that an s3+https store is checked against; the machine's own when not set."""
    s3_worker_url: str = ""
    """`http(s)://host[:port]` under which trainers reach the store, when that isn't how ingest does."""
    kafka_username: str = ""
    kafka_password: SecretStr | None = None
    kafka_password_file: Path | None = None
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the broker of `kafka://host:port[,host:port]` (`kafka+tls://…` for TLS) checks the user, if one is set."""
    kafka_ca_file: Path | None = None
    kafka_cert_file: Path | None = None
    kafka_key_file: Path | None = None
    """Certificates for kafka+tls: the authority's, and our own where the broker asks for one."""
    kafka_replication: int = Field(-1, ge=-1)
    """Copies of each topic that we make; -1: as the broker is set."""
    weights_dir: Path | None = None
    """Directory of pretrained weights that is asked before torchvision's download."""
    host: str = "127.0.0.1"
    ops_host: str = "127.0.0.1"
    """Where `/healthz`, `/readyz` and `/metrics` are answered, which ask for no key: this machine, or in a cluster
    the pod's own address."""
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    """File with the one API key of this installation; without a key only loopback is served."""
    keys_file: Path | None = None
    """Keys of further sites: JSON list of {"site", "principal", "sha256" of the key} (aimic/keys.py)."""
    worker_key: SecretStr | None = None
    worker_key_file: Path | None = None
    """Key with which trainers that work for all sites ask for tasks; it opens nothing else."""
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]", "::1")
    """Host names under which we answer without a key (against DNS rebinding)."""
    log_level: str = "INFO"
    otlp_endpoint: str = ""
    """`http(s)://host:port` of an OpenTelemetry collector that gets traces; also OTEL_EXPORTER_OTLP_ENDPOINT. Without
    it none are made."""
    otlp_protocol: OtlpProtocol = "http/protobuf"
    """How it is spoken to; also OTEL_EXPORTER_OTLP_PROTOCOL, when that names one of the two."""
    faults_dir: Path | None = None
    """Of tests only: where aimic/faults.py looks for what should happen at a named step."""
    lease_s: float = Field(30.0, ge=1)
    """Seconds a worker holds a task without a sign of life; it renews every third of them."""

    @model_validator(mode="before")
    @classmethod
    def _local_defaults(cls, values: dict[str, object]) -> dict[str, object]:
        home = Path(str(values.get("home") or Path.home() / ".aimic")).absolute()
        if set("?#%") & set(str(home)):
            raise ValueError(f"{home} has ?, # or % in its name, which an address can't carry; choose another --home")
        values["home"] = home
        values["blobs_url"] = values.get("blobs_url") or f"file://{home}/objects"
        values["events_url"] = values.get("events_url") or f"sqlite:///{home}/events.db"
        values["records_url"] = values.get("records_url") or f"sqlite:///{home}/records.db"
        for name in ("otlp_endpoint", "otlp_protocol"):
            # Collectors are set by the standard's own variables for all programs of a cluster.
            standard = os.environ.get(f"OTEL_EXPORTER_{name.upper()}")
            if standard and not values.get(name) and (name != "otlp_protocol" or standard in _PROTOCOLS):
                values[name] = standard
        return values

    def unspoken_protocol(self) -> str:
        """The value of OTEL_EXPORTER_OTLP_PROTOCOL that we don't speak, so that it doesn't count; else empty."""
        return "" if "otlp_protocol" in self.model_fields_set else os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")

    def key(self) -> str | None:
        """The API key, from the variable or the file; None when neither is set."""
        return self.secret("api_key")

    def secret(self, name: str) -> str | None:
        """The secret of this name, from its variable or from the file named beside it; None when neither is set.

        SystemExit when one is set and empty or unreadable: a typing slip must not open the installation.
        """
        value: SecretStr | None = getattr(self, name)
        path: Path | None = getattr(self, f"{name}_file")
        if value is not None:
            return _not_empty(value.get_secret_value(), f"AIMIC_{name.upper()}")
        if path is not None:
            return _not_empty(_read_secret(path), f"the file {path} of AIMIC_{name.upper()}_FILE")
        return None


def _read_secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SystemExit(f"The secret's file {path} can't be read ({error.strerror}). Nothing was started.") from None


def _not_empty(secret: str, place: str) -> str:
    if not secret.strip():
        raise SystemExit(f"{place} is empty. Put the secret in it, or leave it unset. Nothing was started.")
    return secret


def is_loopback(host: str) -> bool:
    """Whether a bind address is reachable from this machine only."""
    return host in {"127.0.0.1", "localhost", "::1", "[::1]"}


def proxy_of(url: str) -> str | None:
    """The proxy through which this machine's user wants `url` to be asked: HTTP(S)_PROXY, unless NO_PROXY names it.

    Never one for this machine itself.
    """
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    return getproxies_environment().get(parts.scheme)


def available_cpus() -> int:
    """CPUs this process may use (affinity; a cgroup quota is honoured where there is one)."""
    cpus = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, period = quota.read_text().split()
        if limit != "max":
            cpus = max(1, min(cpus, int(limit) // int(period)))
    return cpus
