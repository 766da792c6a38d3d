"""The faces of the page on data are degraded as evaluations degrade them, and restored by the included models."""

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.data.portraits import portraits
from tests.docs.commands import ROOT, script


@pytest.mark.parametrize("name", ["degradations", "restorations"])
def test_the_picture_shows_faces_as_they_are_degraded_and_restored(name):
    drawing = script(ROOT / "docs/degradations.py")
    count = drawing.DEGRADED if name == "degradations" else drawing.RESTORED
    hr = np.stack([portrait.hr for portrait in portraits("test", count)])
    with Image.open(ROOT / "docs" / f"{name}.jpg") as shown:
        difference = np.abs(np.asarray(shown, float) - np.asarray(getattr(drawing, f"draw_{name}")(hr)))
    assert difference.mean() < 2.5, "Type: python docs/degradations.py"
