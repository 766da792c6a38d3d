"""KDFSRNet's teacher and student (Wang et al., IEEE TCSVT 32(11), 2022, pp. 7317-7331).

Paper: C. Wang, J. Jiang, Z. Zhong, X. Liu, "Propagating Facial Prior Knowledge for Multitask Learning in Face
Super-Resolution". Public code: wcy-cs/KDFSRNet. PKDN builds on it: teacher and student are PKDN's auto-encoder over the
upsampled LR face, with cascades of RCABs as stages. The teacher's head also reads the parsing map of the HR face; the
student is PKDN's student. These classes set the corresponding options of PKDN's.

Differences from the public code: it expects the upsampled LR face, here the network upsamples it; and its student
contains two unused mean shifts (24 frozen values).

The published distillation: L1 between the nine features of each, weighted 10, 9, ... 0 over the first eleven epochs,
0.1 times L1 between the two restored faces in the same epochs, and L1 to the HR face throughout. Adam 1e-4, batches of
8.
"""

from collections.abc import Mapping

from torch import Tensor

from pkdn_lightning.networks.contract import PublishedWeights
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher
from pkdn_lightning.networks.published_weights import rename
from pkdn_lightning.networks.rcan import rename_rcab
from pkdn_lightning.values import Count


class KDFSRNetTeacher(PKDNTeacher):
    """The teacher: restores faces from the LR face and the parsing map of the HR face, concatenated at the head.

    Args:
        scale: Enlargement from LR to HR.
        width: Feature channels.
        levels: Number of halvings and doublings of the resolution.
        parsing_channels: Channels of the encoded parsing map; the public code has 3 (colour).
        rcabs_per_level: RCABs in each stage.

    Raises:
        ConfigError: If `scale`, `width` or `levels` is below 1.

    Example:
        >>> import torch
        >>> teacher = KDFSRNetTeacher(width=8)
        >>> teacher(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 128, 128)).sr.shape
        torch.Size([1, 3, 128, 128])
    """

    def __init__(
        self,
        *,
        scale: Count = 8,
        width: Count = 64,
        levels: Count = 4,
        parsing_channels: Count = 3,
        rcabs_per_level: Count = 2,
    ) -> None:
        super().__init__(
            scale=scale,
            width=width,
            levels=levels,
            parsing_channels=parsing_channels,
            pfb=False,
            rcabs_per_level=rcabs_per_level,
            ffb=False,
        )

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the public code's weights; see `rename_published`."""
        weights = rename_published(state)
        is_teacher = weights is not None and weights["head.weight"].shape[1] > 3  # its head reads the parsing map, too
        return PublishedWeights(weights) if weights and is_teacher else None


class KDFSRNetStudent(PKDNStudent):
    """The student: restores faces from the LR face only. Its nine features have the shapes of the teacher's.

    Args:
        scale: Enlargement from LR to HR.
        width: Feature channels.
        levels: Number of halvings and doublings of the resolution.
        rcabs_per_level: RCABs in each stage.

    Raises:
        ConfigError: If `scale`, `width` or `levels` is below 1.

    Example:
        >>> import torch
        >>> student = KDFSRNetStudent(width=8, rcabs_per_level=1)
        >>> list(student(torch.rand(1, 3, 16, 16)).features)
        ['down1', 'down2', 'down3', 'down4', 'bottleneck', 'up1', 'up2', 'up3', 'up4']
    """

    def __init__(self, *, scale: Count = 8, width: Count = 64, levels: Count = 4, rcabs_per_level: Count = 6) -> None:
        super().__init__(scale=scale, width=width, levels=levels, rcabs_per_level=rcabs_per_level, ffb=False)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the public code's weights; see `rename_published`."""
        weights = rename_published(state)
        is_student = weights is not None and weights["head.weight"].shape[1] == 3
        return PublishedWeights(weights) if weights and is_student else None


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the public state dict of teacher or student under this package's names; None for other networks.

    `l` counts levels, from 1 there and from 0 here; `b` counts RCABs:

    | published                                 | here                                        |
    |-------------------------------------------|---------------------------------------------|
    | `head.0`, `tail.0`                        | `head`, `tail`                              |
    | `down{l}.1` or `down{l}.conv`             | `down.{l-1}.conv`                           |
    | `up{l}.0` or `up{l}.conv`                 | `up.{l-1}.conv`                             |
    | `down_stage{l}.b`                         | `encoder.{l-1}.b`                           |
    | `bottleneck.b`                            | `bottleneck.b`                              |
    | `up_stage{l}.b`                           | `decoder.{l-1}.b`                           |
    | in a block: `body.0`, `body.2`            | `conv_in`, `conv_out`                       |
    | `body.3.conv_du.0`, `body.3.conv_du.2`    | `attention.squeeze`, `attention.excite`     |
    | `sub_mean`, `add_mean` (never used)       | dropped                                     |

    The public code defines its resampling blocks in two ways, for two versions of PyTorch; hence the two names. The
    result also fits PKDN's student, and its teacher with pfb=false and ffb=false.

    Args:
        state: As published, with or without the prefixes `module.` and `model.`. The teacher's `head.0.weight` has 6
            input channels, the student's 3.
    """
    return rename(
        state,
        {
            r"(head|tail)\.0\.(weight|bias)": r"\1.\2",
            r"down(\d)\.(?:1|conv)\.(weight|bias)": lambda m: f"down.{int(m[1]) - 1}.conv.{m[2]}",
            r"up(\d)\.(?:0|conv)\.(weight|bias)": lambda m: f"up.{int(m[1]) - 1}.conv.{m[2]}",
            r"down_stage(\d)\.(\d+)\.(.+)": lambda m: f"encoder.{int(m[1]) - 1}.{m[2]}.{rename_rcab(m[3])}",
            r"bottleneck\.(\d+)\.(.+)": lambda m: f"bottleneck.{m[1]}.{rename_rcab(m[2])}",
            r"up_stage(\d)\.(\d+)\.(.+)": lambda m: f"decoder.{int(m[1]) - 1}.{m[2]}.{rename_rcab(m[3])}",
            r"(?:sub_mean|add_mean)\.(?:weight|bias)": None,
        },
    )
