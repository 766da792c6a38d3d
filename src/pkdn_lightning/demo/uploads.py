"""Time limit for uploads."""

import asyncio
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PATHS: Final = ("/upload", "/upload/")


class UploadTimeout:
    """ASGI middleware that responds with status 408 if an upload takes too long.

    Args:
        app: The wrapped application.
        seconds: Maximum time of an upload.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards a request, uploads with the time limit."""
        if scope["type"] != "http" or not scope["path"].endswith(_PATHS):
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self.seconds):
                await self.app(scope, receive, send_noted)
        except TimeoutError:
            if not started:
                late = PlainTextResponse(f"The upload took more than {self.seconds:g} seconds.", status_code=408)
                await late(scope, receive, send)
