"""Why a photograph did not become a face of the store."""

from pkdn_lightning.errors import PKDNError


class Rejected(PKDNError):  # noqa: N818  # the photograph is at fault, not the program
    """A photograph that cannot become a face. It goes to `rejects.csv`; the others go on.

    Args:
        reason: One short word for it, by which rejects are counted: `no_face`, `too_small`, `truncated`...
        detail: What was found and what was expected.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it survives the way from a worker process
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
