"""Row 9: PSNR and SSIM of many faces, against a loop with scikit-image.

    python benchmarks/metrics.py             (scikit-image is used if it is installed: pip install scikit-image)

Both sides get the same float images and have to agree. Faces are included portraits, restored by bicubic.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
import torch
from timing import Claim, arguments, compared, interleaved, report
from torch import Tensor

from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.hardware import keep_freed_memory
from pkdn_lightning.metrics import PROTOCOLS, quality

TARGET = 10.0


def faces(count: int) -> tuple[Tensor, Tensor]:
    """Returns restored and true faces, (N, 3, 128, 128) in [0, 1]."""
    few = torch.from_numpy(np.stack([face.hr for face in portraits("train", min(count, 64))]))
    hr = few.permute(0, 3, 1, 2).float().div(255).repeat(-(-count // len(few)), 1, 1, 1)[:count].contiguous()
    return enlarge(degrade(hr, 8), 8), hr


def scikit_image(sr: Tensor, hr: Tensor, names: list[str]) -> np.ndarray:
    """Returns PSNR and SSIM of each face and protocol, (N, P, 2), one face at a time, as the peers do it."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    found = np.empty((len(sr), len(names), 2))
    for face, pair in enumerate(zip(sr, hr, strict=True)):
        for place, name in enumerate(names):
            protocol = PROTOCOLS[name]
            grey = []
            for image in pair:
                levels = image.numpy().transpose(1, 2, 0) * np.float32(255)
                if protocol.rounded:
                    levels = np.round(np.clip(levels, 0, 255))
                levels = levels.astype(np.float64)
                if protocol.channel == "y":
                    levels = levels @ [21827.0, 42851.0, 8322.0] / 85000 + 16  # BT.601; ties are exact so
                    levels = np.round(levels) if protocol.rounded else levels
                border = slice(protocol.border_px, 128 - protocol.border_px)
                grey.append(levels[border, border])
            found[face, place, 0] = peak_signal_noise_ratio(grey[1], grey[0], data_range=255)
            found[face, place, 1] = structural_similarity(
                grey[1], grey[0], data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                channel_axis=None if protocol.channel == "y" else -1,
            )  # fmt: skip
    return found


def ours(sr: Tensor, hr: Tensor, names: list[str]) -> np.ndarray:
    """Returns the same in batches of 32."""
    parts = [
        quality(a, b, [PROTOCOLS[name] for name in names]) for a, b in zip(sr.split(32), hr.split(32), strict=True)
    ]
    return np.concatenate([np.stack([np.stack(both, -1) for both in part], 1) for part in parts])


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures the headline protocol, and all protocols at once."""
    try:
        import skimage
    except ImportError:
        print("Row 9 is left out: scikit-image is not installed (pip install scikit-image).")
        return []
    keep_freed_memory()  # as evaluate and report do
    sr, hr = faces(options.faces)
    made = []
    for names in (["headline"], list(PROTOCOLS)):
        here: Callable[[], np.ndarray] = lambda names=names: ours(sr, hr, names)  # noqa: E731
        there: Callable[[], np.ndarray] = lambda names=names: scikit_image(sr, hr, names)  # noqa: E731
        np.testing.assert_allclose(here(), there(), rtol=0, atol=2e-6)
        taken = interleaved({"theirs": there, "ours": here}, options.rounds)
        each = min(taken["ours"]) / len(sr) * 1e3
        note = f"{each:.2f} ms a face, equal to 2e-6"
        what = f"PSNR and SSIM, {'all protocols' if len(names) > 1 else names[0]}, {len(sr)} faces"
        against = f"scikit-image {skimage.__version__}, face by face"
        target = TARGET if len(names) > 1 else math.nan  # the claim is about all metrics
        made.append(Claim("9", what, against, *compared(taken["theirs"], taken["ours"]), target, note=note))
    return made


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--faces", type=int, default=1000)
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    torch.set_num_threads(chosen.threads)
    report(claims(chosen), chosen)
