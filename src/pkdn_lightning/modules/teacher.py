"""Training the teacher: it sees the parsing map of the HR face (PKDN, section 3.1; L_T, Eq. 1)."""

from pkdn_lightning.data.datamodule import Batch
from pkdn_lightning.modules.base import SRModule
from pkdn_lightning.networks.output import SROutput


class TeacherModule(SRModule):
    """Trains a network that reads LR faces and parsing maps."""

    def restore(self, batch: Batch) -> SROutput:
        """Runs the network on LR faces and parsing maps."""
        return self.net(batch["lr"], batch["parsing"])
