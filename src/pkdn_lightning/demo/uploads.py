"""An upload that does not end is ended."""

import asyncio
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PATHS: Final = ("/upload", "/upload/")


class UploadsInTime:
    """ASGI middleware that answers 408 where an upload takes too long.

    Args:
        app: What it stands before.
        seconds: How long an upload may take.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; an upload within the time."""
        if scope["type"] != "http" or not scope["path"].endswith(_PATHS):
            await self.app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self.seconds):
                await self.app(scope, receive, noted)
        except TimeoutError:
            if not begun:
                late = PlainTextResponse(f"The upload took more than {self.seconds:g} seconds.", status_code=408)
                await late(scope, receive, send)
