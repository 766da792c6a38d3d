"""Views: reproducible, the same for face, map and landmarks, and nothing where nothing is asked for."""

import numpy as np
import pytest
import torch

from pkdn_lightning.data.augmentation import VIEW, Augmentation, view_faces, view_landmarks, view_parsing
from pkdn_lightning.data.batches import ShuffledBatchSampler
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.errors import ConfigError

STRONG = Augmentation(zoom_in=0.3, zoom_out=0.1, turn_deg=10, shift=0.1, colour=0.2)


def view(**values: float) -> torch.Tensor:
    plain = dict.fromkeys(VIEW, 0.0) | {"zoom": 1.0, "brightness": 1.0, "contrast": 1.0, "saturation": 1.0}
    return torch.tensor([[(plain | values)[name] for name in VIEW]])


def spot(x: int, y: int) -> torch.Tensor:
    face = torch.zeros(1, 3, 33, 33, dtype=torch.uint8)
    face[..., y, x] = 255
    return face


def brightest(face: torch.Tensor) -> tuple[int, int]:
    y, x = divmod(int(face[0].sum(0).argmax()), face.shape[-1])
    return x, y


def test_a_plain_view_changes_nothing():
    face = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(view_faces(face, view().expand(2, -1)), face)
    parsing = torch.randint(0, 19, (2, 32, 32), dtype=torch.uint8)
    assert torch.equal(view_parsing(parsing, view().expand(2, -1)), parsing)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"right": 2 / 33}, (22, 16)),
        ({"down": 3 / 33}, (20, 19)),
        ({"zoom": 2.0}, (24, 16)),
        ({"angle_deg": 90.0}, (16, 12)),
    ],
)
def test_face_map_and_landmarks_move_together(change, expected):
    moved = view_faces(spot(20, 16), view(**change))
    assert brightest(moved) == expected
    labels = view_parsing(spot(20, 16)[:, 0] // 36, view(**change))
    assert labels[0, expected[1], expected[0]] == 7
    point = view_landmarks(torch.tensor([[[20.0, 16.0]]]), view(**change), 33)
    torch.testing.assert_close(point[0, 0], torch.tensor(expected, dtype=torch.float32), atol=1e-3, rtol=0)


def test_light_changes_levels_and_not_places():
    face = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    assert torch.equal(view_faces(face, view(brightness=1.2)), torch.full_like(face, 120))
    grey = view_faces(torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8), view(saturation=0.0))
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_views_stay_within_their_bounds_and_reach_them():
    drawn = STRONG.draw(4000, np.random.default_rng(0))
    lowest, highest = drawn.min(0), drawn.max(0)
    np.testing.assert_allclose(lowest, [0.9, -10, -0.1, -0.1, 0.8, 0.8, 0.8], rtol=0.01)
    np.testing.assert_allclose(highest, [1.3, 10, 0.1, 0.1, 1.2, 1.2, 1.2], rtol=0.01)


def test_a_resumed_stream_shows_the_same_views():
    whole = list(ShuffledBatchSampler(np.arange(20), 4, augmentation=STRONG))
    resumed = next(iter(ShuffledBatchSampler(np.arange(20), 4, augmentation=STRONG, batches_seen=lambda: 3)))
    np.testing.assert_array_equal(whole[3].view, resumed.view)
    plain = list(ShuffledBatchSampler(np.arange(20), 4))
    assert plain[0].view is None
    np.testing.assert_array_equal(plain[3].mirrored, whole[3].mirrored)


def test_training_batches_are_augmented_and_the_others_are_not(store):
    options = {"scale": 4, "batch_size": 4, "eval_batch_size": 4}
    data = FaceSRDataModule(store.path, augmentation={"zoom_in": 0.3, "turn_deg": 10}, **options)
    plain = FaceSRDataModule(store.path, **options)
    (changed, same), (validated, _) = (
        [next(iter(getattr(each, f"{name}_dataloader")())) for each in (data, plain)] for name in ("train", "val")
    )
    finished = data.on_after_batch_transfer(changed, 0)
    assert finished["hr"].shape == (4, 3, 32, 32)
    assert not torch.equal(finished["hr"], plain.on_after_batch_transfer(same, 0)["hr"])
    assert "view" not in validated


@pytest.mark.parametrize("values", [{"zoom_in": -0.1}, {"turn_deg": 200}, {"shift": 1}])
def test_impossible_amounts(values):
    with pytest.raises(ConfigError, match=rf"data\.augmentation\.{next(iter(values))}"):
        Augmentation(**values)
