"""The faces of the page on data are degraded as evaluations degrade them."""

import numpy as np
from PIL import Image

from pkdn_lightning.data.portraits import portraits
from tests.docs.commands import ROOT, script


def test_the_picture_shows_the_degradations_as_they_are():
    drawing = script(ROOT / "docs/degradations.py")
    hr = np.stack([portrait.hr for portrait in portraits("test", drawing.DEGRADED)])
    with Image.open(ROOT / "docs/degradations.jpg") as shown:
        difference = np.abs(np.asarray(shown, float) - np.asarray(drawing.draw_degradations(hr)))
    assert difference.mean() < 2, "Type: python docs/degradations.py"
