"""Answers requests for this page's own addresses only.

A web page elsewhere can make a visitor's browser send requests to this server: by a name of its own that points here
(DNS rebinding), or across origins. The first shows in the header Host, the second in the header Origin.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class OwnAddressOnly:
    """ASGI middleware that answers requests of unknown hosts with status 421, and of other origins with 403.

    Args:
        app: The wrapped application.
        host: What the server listens on. This computer's loopback names are always accepted. With another host than
            these, its names are accepted, too, and with `0.0.0.0` or `::` every literal address, which no name
            server can redirect.
        names: Further names, e.g. that of a proxy.
    """

    def __init__(self, app: ASGIApp, host: str, names: Iterable[str] = ()) -> None:
        self.app, self.names = app, {_plain(name) for name in names}
        self.any_address = host in ("0.0.0.0", "::", "")  # what was asked for
        own = {*LOOPBACK, _plain(host), *self.names}
        self.hosts = own if host in LOOPBACK else own | {_plain(name) for name in _machine_names()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards a request that is for this page."""
        if scope["type"] in ("http", "websocket") and (refusal := self._refusal(Headers(scope=scope))):
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        name = _name(f"//{host}")
        if name not in self.hosts and not (self.any_address and _is_address(name)):
            words = "This page is not served under this name. Whoever runs it can add the name to its settings."
            return PlainTextResponse(words, status_code=421)
        if origin is not None and origin.partition("://")[2] != host and _name(origin) not in self.names:
            return PlainTextResponse("Requests from other pages are not answered.", status_code=403)
        return None


def _name(url: str) -> str:
    try:
        return _plain(urlsplit(url).hostname or "")
    except ValueError:  # a broken address in brackets
        return ""


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _machine_names() -> list[str]:
    short = socket.gethostname()
    return [short, f"{short}.local", socket.getfqdn()]
