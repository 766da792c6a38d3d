"""Labeled Faces in the Wild (Huang et al. 2007): 13,233 images of 5,749 people, 250x250.

<path>/**/lfw_funneled or lfw-deepfunneled or lfw/Name_Surname/Name_Surname_0001.jpg     folder, archive or URL
"""

from typing import Any, ClassVar, Final

from pkdn_lightning.faces.crop import CropName
from pkdn_lightning.prepare.raw_files import Delivery
from pkdn_lightning.prepare.sources.photographs import PhotographSource, scan
from pkdn_lightning.prepare.splits import Photograph

_FUNNELED: Final = "https://ndownloader.figshare.com/files/5976015"
_FUNNELED_SHA256: Final = "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a"


class LFWSource(PhotographSource):
    """LFW as published. Folders are named after people; splits are disjoint in identity.

    Args:
        path: As for `PhotographSource`.
        crop: `aligned` takes a fixed box of the funneled images.
        **options: As for `PhotographSource`.
    """

    fixed_box: ClassVar = (50, 45, 150)
    fixed_size: ClassVar = (250, 250)
    how_to_get: ClassVar = (
        "LFW is offered at http://vis-www.cs.umass.edu/lfw/ (lfw-deepfunneled.tgz, MD5 "
        "68331da3eb755a505a502b5aacb3c201): give the archive or its folder. The funneled images (243,346,528 bytes) "
        f"can be fetched directly:\n  data.source.path={_FUNNELED} data.source.sha256={_FUNNELED_SHA256}"
    )
    terms: ClassVar = {
        "licence": "LFW: published for research; no explicit licence",
        "terms": "the photographs belong to their owners",
        "homepage": "http://vis-www.cs.umass.edu/lfw/",
        "cite": "Huang, Ramesh, Berg, Learned-Miller: Labeled Faces in the Wild, UMass Amherst TR 07-49, 2007",
    }

    def __init__(self, path: str | None, *, crop: CropName = "aligned", **options: Any) -> None:
        super().__init__(path, crop=crop, **options)

    def photographs(self, delivery: Delivery) -> list[Photograph]:
        """Returns the photographs with their identities."""
        folder = delivery.find("lfw-deepfunneled", "lfw_funneled", "lfw") or delivery.root
        return scan(folder, identity=lambda file: file.parent.name)
