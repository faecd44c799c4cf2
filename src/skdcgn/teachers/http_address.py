"""Addresses of services, and the token that alone they may be sent."""

import ipaddress
import os
from urllib.parse import SplitResult, urlsplit

from skdcgn.base.errors import UserError, escaped, shortened

TOKEN = "SKDCGN_TOKEN"  # the environment variable
SCHEMES = ("http://", "https://")


def check_address(url: str) -> str:
    """Return the address of a service without a slash at its end.

    Raises:
        UserError: no http(s) address, or one with a user, a password, a query string or a fragment.
    """
    shown = shortened(url.partition("?")[0].rpartition("@")[2])  # without what may be secret
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UserError(f"{shown} is no address: pass http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not _plain(url):
        raise UserError(f"{shown} is no address of a service: pass http://HOST:PORT or https://HOST")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise UserError(
            f"the address of {escaped(parts.hostname)} has a password, a query string or a fragment: pass it without, "
            f"and a token by {TOKEN}"
        )
    return url.rstrip("/")


def _plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url


def is_loopback(url: str) -> bool:
    """Say whether an address is of this machine."""
    host = _host(urlsplit(url))
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").lower()


def token_for(url: str) -> str | None:
    """Return the token in the environment, None if there is none; raise UserError if it must not be sent there."""
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        return None
    if not (token.isascii() and token.isprintable()):
        raise UserError(f"{TOKEN} holds characters that no token has: set it again")
    if url.startswith("http://") and not is_loopback(url):
        raise UserError(f"{TOKEN} would be sent to {url} for anyone to read: use https://, or unset it")
    return token
