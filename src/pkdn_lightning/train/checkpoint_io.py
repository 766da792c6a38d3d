"""How Lightning's checkpoints reach the disk."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from pkdn_lightning.files import whole_file
from pkdn_lightning.models.checksum import add_checksum


class WholeFileCheckpointIO(TorchCheckpointIO):
    """Writes every checkpoint whole or not at all, `best.ckpt` and `last.ckpt` alike."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint beside its place and moves it there when it is whole.

        Raises:
            OSError: If it cannot be written; what was at `path` before is still there.
        """
        content = io.BytesIO()  # torch's own file writer ends the process on a full disk
        torch.save(checkpoint, content)
        with whole_file(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())
            add_checksum(temporary)
