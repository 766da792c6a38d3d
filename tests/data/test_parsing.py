"""Labels, mirroring and encodings."""

import pytest
import torch

from pkdn_lightning.data.labels import ENCODING_CHANNELS, ENCODINGS, LABELS, MIRRORED, PALETTE
from pkdn_lightning.data.parsing import blur, damage, encode, mirror
from tests.conftest import real_face


def test_the_tables_fit_together():
    assert len(LABELS) == len(set(LABELS)) == len(PALETTE) == len(set(PALETTE)) == len(MIRRORED) == 19
    assert [MIRRORED[MIRRORED[label]] for label in range(19)] == list(range(19))
    assert {LABELS[i] for i in range(19) if MIRRORED[i] != i} == {
        "l_eye",
        "r_eye",
        "l_brow",
        "r_brow",
        "l_ear",
        "r_ear",
    }


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_mirroring_flips_and_swaps_sides(dtype):
    every = torch.arange(19).view(1, 1, 19).to(dtype)
    assert mirror(every).flatten().tolist() == list(reversed(MIRRORED))
    assert mirror(every).dtype == dtype
    parsing = torch.tensor([[[4, 1, 13]]], dtype=torch.uint8)
    assert mirror(parsing).tolist() == [[[13, 1, 5]]]
    anything = torch.randint(0, 19, (2, 8, 8), dtype=torch.uint8)
    assert torch.equal(mirror(mirror(anything)), anything)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_keep_labels_apart(encoding):
    labels = torch.arange(19, dtype=torch.uint8).view(1, 1, 19)
    encoded = encode(labels, encoding)
    assert encoded.shape == (1, ENCODING_CHANNELS[encoding], 1, 19)
    assert encoded.dtype == torch.float32
    assert 0 <= encoded.min() <= encoded.max() <= 1
    assert len({tuple(column.tolist()) for column in encoded[0, :, 0].T}) == 19


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("start", [0, 1])
def test_colours_are_those_of_the_palette_at_every_size_and_place(dtype, start):
    for width in (1, 2, 5, 8):
        labels = torch.randint(0, 19, (3, 4, width), dtype=dtype)[start:]
        colours = torch.tensor(PALETTE, dtype=torch.float32)[labels.long()] / 255
        assert torch.equal(encode(labels, "colour"), colours.permute(0, 3, 1, 2))
        rotated = labels.transpose(1, 2)
        assert torch.equal(encode(rotated, "colour"), colours.permute(0, 3, 2, 1))


@pytest.mark.parametrize("labels", [[25, 3], [18, 25], [3, 128], [255, 255]])
def test_what_is_no_label_has_no_colour(labels):
    assert encode(torch.tensor([[labels]], dtype=torch.uint8), "colour").isnan().all()
    with pytest.raises(IndexError):
        encode(torch.tensor([[labels]]), "colour")


def test_values_of_encodings():
    labels = torch.tensor([[[0, 18]]], dtype=torch.uint8)
    assert encode(labels, "index").flatten().tolist() == [0, 1]
    assert encode(labels, "onehot").sum().item() == 2
    assert encode(labels, "onehot")[0, 18, 0].tolist() == [0, 1]
    torch.testing.assert_close(
        encode(labels, "colour")[0, :, 0, 1] * 255, torch.tensor(PALETTE[18], dtype=torch.float32)
    )


class TestDamage:
    """How good must a prior be? The damage has to be what it says, the same for a face whenever it is shown."""

    maps = torch.stack([torch.from_numpy(real_face(number, 32).parsing) for number in range(3)])
    rows = torch.tensor([4, 70_000, 168_853])

    @pytest.mark.parametrize("kind", ["shuffled", "displaced"])
    def test_it_depends_on_the_face_alone(self, kind):
        together = damage(self.maps, kind, self.rows, 4)
        alone = torch.cat([damage(self.maps[[n]], kind, self.rows[[n]], 4) for n in range(3)])
        assert torch.equal(together, alone)
        assert together.dtype == self.maps.dtype
        assert not torch.equal(together, self.maps)

    def test_shuffled_keeps_the_regions_and_the_background(self):
        shuffled = damage(self.maps, "shuffled", self.rows, 4)
        assert torch.equal(shuffled == 0, self.maps == 0)
        for before, after in zip(self.maps, shuffled, strict=True):
            pairs = {(int(a), int(b)) for a, b in zip(before.flatten(), after.flatten(), strict=True)}
            assert len(pairs) == len(before.unique()) == len(after.unique())  # one to one
        tables = damage(torch.arange(19).expand(200, 1, 19), "shuffled", torch.arange(200), 4)[:, 0]
        assert all(sorted(table.tolist()) == list(range(19)) for table in tables)
        assert len(tables.unique(dim=0)) == 200

    def test_displaced_moves_by_the_distance_that_is_asked_for(self):
        point = torch.zeros(50, 64, 64, dtype=torch.uint8)
        point[:, 32, 32] = 1
        moved = damage(point, "displaced", torch.arange(50), 10).nonzero()[:, 1:].double() - 32
        assert torch.allclose(moved.norm(dim=1), torch.tensor(10.0, dtype=torch.double), atol=0.8)
        assert moved.mean(0).norm() < 2  # in every direction

    def test_blurred_keeps_the_mean_and_loses_the_borders(self):
        encoded = encode(self.maps, "onehot")
        blurred = blur(encoded, 8)
        assert blurred.shape == encoded.shape
        assert torch.allclose(blurred.sum(1), torch.ones(3, 32, 32))
        assert ((blurred > 0.05) & (blurred < 0.95)).any()
        assert torch.allclose(blurred.mean((-2, -1)), encoded.mean((-2, -1)), atol=0.02)
        assert (blurred.diff(dim=-1).abs().max()) < 0.5 * (encoded.diff(dim=-1).abs().max())
