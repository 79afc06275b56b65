"""Credentials become a principal here, once; routes only name the permission they need.

Embedded mode without a key is open to this machine alone: loopback address, loopback Host header (against
DNS rebinding) and, for browsers, a loopback Origin (against other sites' pages posting to us).
"""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import urlsplit

from aimic.domain.site import OWNER, Permission, Principal
from aimic.errors import ForbiddenError, NotAuthenticatedError
from aimic.keys import Keys, has_keys
from aimic.settings import Settings, is_loopback


class Authenticator:
    """Knows the installation's keys; turns request headers into a principal."""

    def __init__(self, settings: Settings) -> None:
        self._keys = Keys(settings)
        self._open = not has_keys(settings)
        self._hosts = frozenset(settings.allowed_hosts)

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """The principal of a request with these (lower-case) headers, or gRPC metadata.

        NotAuthenticatedError without a valid key where one is needed; ForbiddenError for a foreign page.
        """
        authorization = headers.get("authorization", "")
        principal = self._keys.owner_of(_sent_key(authorization))
        if principal is not None:
            _refuse_lent_credentials(authorization, headers)
            return principal
        if self._open:
            self._check_local(headers)
            return OWNER
        raise NotAuthenticatedError("Send the API key as 'Authorization: Bearer <key>'.")

    def _check_local(self, headers: Mapping[str, str]) -> None:
        host = urlsplit(f"//{headers.get('host', 'localhost')}").hostname or ""
        origin = headers.get("origin")
        if host not in self._hosts or (origin and urlsplit(origin).hostname not in self._hosts):
            raise ForbiddenError(
                f"This installation has no key, so it answers to this machine only, not to {origin or host}."
            )


def _refuse_lent_credentials(authorization: str, headers: Mapping[str, str]) -> None:
    # A browser sends a remembered Basic password with other sites' forms too; a bearer token it never sends by itself.
    origin = headers.get("origin")
    lent = authorization.lower().startswith("basic") and origin is not None
    if lent and urlsplit(origin).netloc != headers.get("host"):
        raise ForbiddenError(f"This page comes from {origin}, not from this installation, so it may do nothing here.")


def _sent_key(authorization: str) -> bytes:
    # A browser without our sign-in page can still send the key as the password of HTTP Basic (RFC 7617).
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return token.encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(token, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def require(principal: Principal, permission: Permission) -> None:
    """Raise ForbiddenError unless `principal` holds `permission`."""
    if not principal.may(permission):
        raise ForbiddenError(f"{principal.name} may not {permission.value}; ask an administrator of the site.")


def refuse_open_bind(settings: Settings, host: str | None = None) -> None:
    """A service bound beyond loopback (at `host`, else the settings') does not start without a key: SystemExit."""
    address = host or settings.host
    if not is_loopback(address) and not has_keys(settings):
        raise SystemExit(
            f"Refusing to listen on {address} without a key, because anybody on the network could use it. "
            "Set AIMIC_API_KEY_FILE to a file with a long random key, or bind to 127.0.0.1."
        )
