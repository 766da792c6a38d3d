"""Image grids: every view in its column, and pixels as they are."""

import numpy as np
import torch

from pkdn_lightning.data.grids import error_map, face_columns, render_grid


def batch(parsing_channels: int = 3):
    return {
        "lr": torch.rand(2, 3, 8, 8),
        "hr": torch.rand(2, 3, 32, 32),
        "parsing": torch.rand(2, parsing_channels, 32, 32),
        "row": torch.arange(2),
    }


def test_columns_in_order():
    faces = batch()
    columns = face_columns(faces, {"teacher": torch.rand(2, 3, 32, 32), "student": faces["hr"]}, 4)
    assert list(columns) == ["LR", "bicubic", "teacher", "student", "HR", "parsing", "student error x4"]
    assert columns["student error x4"].max() < 0.01  # a perfect student errs by rounding only
    assert columns["LR"].shape == (2, 3, 32, 32)
    assert torch.equal(columns["LR"][..., :4, :4], faces["lr"][..., :1, :1].expand(-1, -1, 4, 4))


def test_every_encoding_can_be_shown():
    for channels in (1, 3, 19):
        assert face_columns(batch(channels), {}, 4)["parsing"].shape == (2, 3, 32, 32)
    bare = {key: value for key, value in batch().items() if key != "parsing"}
    assert "parsing" not in face_columns(bare, {}, 4)


def test_pixels_arrive_where_they_belong():
    first, second = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    image = np.asarray(render_grid({"a": first, "b": second}))
    title = image.shape[0] - 32
    expected = (second[1].permute(1, 2, 0) * 255).round().byte().numpy()
    np.testing.assert_array_equal(image[title + 16 :, 16:], expected)


def test_errors_are_amplified_and_clamped():
    hr = torch.zeros(1, 3, 4, 4)
    assert error_map(hr + 51 / 255, hr).allclose(torch.tensor(0.8))
    assert error_map(hr + 1, hr).max() == 1
