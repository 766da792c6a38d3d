"""On an accelerator: the same batches, the precision that `auto` promises, and a run from start to end."""

import pytest
import torch

from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.hardware import choose_precision
from pkdn_lightning.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; there is none here"),
]


def test_degradation_is_the_same_everywhere():
    hr = (torch.rand(4, 3, 128, 128) * 255).round() / 255
    torch.testing.assert_close(degrade(hr.cuda(), 8).cpu(), degrade(hr, 8), atol=0, rtol=0)
    torch.testing.assert_close(enlarge(degrade(hr, 8).cuda(), 8).cpu(), enlarge(degrade(hr, 8), 8), atol=0, rtol=0)


def test_auto_takes_bfloat16_where_there_is_some():
    expected = "bf16-mixed" if torch.version.hip or torch.cuda.get_device_capability() >= (8, 0) else "32-true"
    assert choose_precision("auto", "auto") == expected


@pytest.mark.parametrize("resident", ["true", "false"])
@pytest.mark.parametrize("precision", ["auto", "16-mixed", "32"])
def test_a_distilled_student_is_trained(tiny_config, resident, precision):
    result = train(tiny_config("trainer=gpu", f"data.resident={resident}", f"trainer.precision={precision}"))
    assert result.run.finished
    assert 5 < result.metrics["test/faces/psnr_y"] < 40
