"""Limits of uploads and requests, so that one user cannot block the page for others."""

import time
from typing import NamedTuple

from pkdn_lightning.errors import DataError


class Limits(NamedTuple):
    """Limits per user.

    Attributes:
        upload_mb: Maximum size of a file.
        megapixels: Maximum size of an image.
        faces: Maximum number of faces of a photograph; the largest are restored.
        upload_s: Maximum time of an upload.
        request_s: Maximum time of a restoration.
        keep_s: Time until images and results are deleted.
    """

    upload_mb: float = 20
    megapixels: float = 50
    faces: int = 24
    upload_s: float = 60
    request_s: float = 60
    keep_s: float = 600


class Deadline:
    """The deadline of a request, checked between its short steps.

    Args:
        seconds: Time from now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = time.monotonic() + seconds

    def check(self) -> None:
        """Checks the deadline.

        Raises:
            DataError: If it has passed.
        """
        if time.monotonic() > self._ends:
            raise DataError(
                f"This took more than {self.seconds:g} seconds and was stopped. Try a smaller image, or one with "
                "fewer faces."
            )
