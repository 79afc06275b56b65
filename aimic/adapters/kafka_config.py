"""What every Kafka client is told, from the address and the settings: where, how it is encrypted, and who we are."""

import re
import ssl
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

from aimic.settings import Settings

PORT = 9092
_OF_OURS = re.compile("ALERT_.*(CERTIFICATE|_CA$)")
"""OpenSSL's names of what a server says that doesn't accept a client's certificate."""


@dataclass
class Trust:
    """Why a certificate was not accepted lately; kafka-python forgets it."""

    theirs: str | None = None
    """What is wrong with the broker's."""
    ours: str | None = None
    """What the broker says of ours."""


class TlsSocket(ssl.SSLSocket):
    """Closes itself when the two can't agree, or is left: kafka-python forgets such a socket and takes another."""

    trust: ClassVar[Trust]

    def do_handshake(self, block: bool = False) -> None:
        """As always, or close."""
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise  # not yet
        except BaseException as error:
            self._note(error)
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As always. The broker looks at our certificate when for us the handshake is over, and hangs up then."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self._note(error)
            raise

    def _note(self, error: BaseException) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            self.trust.theirs = error.verify_message
        elif isinstance(error, ssl.SSLError) and _OF_OURS.search(error.reason or ""):
            self.trust.ours = error.reason.replace("_", " ").lower()

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True)
class Cluster:
    """A Kafka cluster as its clients are told."""

    servers: tuple[str, ...]
    replication: int = -1
    """Copies of each topic that we make; -1: as the broker is set."""
    security: dict[str, Any] = field(default_factory=dict, repr=False)
    """Arguments of kafka-python's clients. Holds the password, so it is never printed."""
    trust: Trust = field(default_factory=Trust, repr=False, compare=False)


def cluster_of(settings: Settings) -> Cluster:
    """From `kafka://host[:port][,host[:port]]` (`kafka+tls://…`) and the settings `kafka_…`.

    SystemExit, before anything is started, when they can't be meant: a slip must not send a password in the clear.
    """
    url = urlsplit(settings.events_url)
    if "@" in url.netloc:
        raise SystemExit(
            "AIMIC_EVENTS_URL must not carry a user or a password; set AIMIC_KAFKA_USERNAME and "
            "AIMIC_KAFKA_PASSWORD_FILE. Nothing was started."
        )
    servers = tuple(_with_port(server) for server in url.netloc.split(",") if server)
    if not servers or url.path.strip("/") or url.query:
        raise SystemExit("AIMIC_EVENTS_URL: expected kafka://host:port[,host:port]. Nothing was started.")
    tls = url.scheme == "kafka+tls"
    trust = Trust()
    security = {"security_protocol": _protocol(tls, bool(settings.kafka_username))} | _tls(settings, tls, trust)
    return Cluster(servers, settings.kafka_replication, security | _user(settings), trust)


def _with_port(server: str) -> str:
    has_port = server.rpartition("]")[2].count(":") == 1 if "]" in server else ":" in server
    return server if has_port else f"{server}:{PORT}"


def _protocol(tls: bool, user: bool) -> str:
    return ("SASL_" if user else "") + ("SSL" if tls else "PLAINTEXT")


def _tls(settings: Settings, tls: bool, trust: Trust) -> dict[str, Any]:
    """The context is made here and not by kafka-python, so that a wrong file is told at the start."""
    files = (settings.kafka_ca_file, settings.kafka_cert_file, settings.kafka_key_file)
    if not tls:
        if any(files):
            raise SystemExit(
                "AIMIC_KAFKA_CA_FILE, …_CERT_FILE and …_KEY_FILE are for kafka+tls://…, and AIMIC_EVENTS_URL is "
                "kafka://…, which is not encrypted. Nothing was started."
            )
        return {}
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
        if settings.kafka_cert_file is not None:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(file) for file in files if file)
        raise SystemExit(f"The certificates for Kafka can't be read ({named}): {error}. Nothing was started.") from None
    context.sslsocket_class = type("TlsSocket", (TlsSocket,), {"trust": trust})
    return {"ssl_context": context}


def _user(settings: Settings) -> dict[str, Any]:
    password = settings.secret("kafka_password")
    if not settings.kafka_username:
        if password is not None:
            raise SystemExit("AIMIC_KAFKA_PASSWORD is set and AIMIC_KAFKA_USERNAME is not. Nothing was started.")
        return {}
    if password is None:
        raise SystemExit(
            "AIMIC_KAFKA_USERNAME is set and there is no password; set AIMIC_KAFKA_PASSWORD_FILE. Nothing was started."
        )
    return {
        "sasl_mechanism": settings.kafka_mechanism,
        "sasl_plain_username": settings.kafka_username,
        "sasl_plain_password": password,
    }
