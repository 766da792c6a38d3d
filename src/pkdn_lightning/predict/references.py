"""PSNR and SSIM of results under the headline protocol, where the true images are known."""

from pathlib import Path

import numpy as np
from PIL import Image

from pkdn_lightning.data.pixels import to_tensor
from pkdn_lightning.errors import DataError
from pkdn_lightning.faces.folders import find_images
from pkdn_lightning.predict.image_file import ImageFile


class References:
    """True images, found by the names of the results; their suffixes may differ.

    Args:
        folder: Where they are.

    Raises:
        DataError: If there is no such folder, or no image in it.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            found = "which is a file" if self.folder.exists() else "which is not there"
            raise DataError(
                f"references={folder}, {found}: expected a folder with the true images, under the names of the results."
            )
        self.files = {file.relative_to(self.folder).with_suffix(""): file for file in find_images(self.folder).images}
        if not self.files:
            raise DataError(f"references={folder} holds no images.")

    def measure(self, name: Path, result: Image.Image) -> dict[str, float]:
        """Returns the PSNR and SSIM of a result; nothing if there is no image of its name.

        Raises:
            DataError: If the true image has another size.
        """
        file = self.files.get(name.with_suffix(""))
        if file is None:
            return {}
        truth = ImageFile.open(file).rgb
        if truth.size != result.size:
            raise DataError(
                f"the reference {file} is {truth.width}x{truth.height}, the result {result.width}x{result.height}"
            )
        from pkdn_lightning.metrics import psnr_y, ssim_y

        pair = to_tensor([np.asarray(result)]), to_tensor([np.asarray(truth)])
        return {"psnr_y": float(psnr_y(*pair)), "ssim_y": float(ssim_y(*pair))}
