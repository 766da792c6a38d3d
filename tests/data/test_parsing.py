"""Labels, mirroring and encodings."""

import pytest
import torch

from pkdn_lightning.data.labels import LABELS, MIRRORED, PALETTE
from pkdn_lightning.data.parsing import ENCODINGS, encode, encoding_channels, mirror


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


def test_mirroring_flips_and_swaps_sides():
    parsing = torch.tensor([[[4, 1, 13]]], dtype=torch.uint8)
    assert mirror(parsing).tolist() == [[[13, 1, 5]]]
    anything = torch.randint(0, 19, (2, 8, 8), dtype=torch.uint8)
    assert torch.equal(mirror(mirror(anything)), anything)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_keep_labels_apart(encoding):
    labels = torch.arange(19, dtype=torch.uint8).view(1, 1, 19)
    encoded = encode(labels, encoding)
    assert encoded.shape == (1, encoding_channels(encoding), 1, 19)
    assert encoded.dtype == torch.float32
    assert 0 <= encoded.min() <= encoded.max() <= 1
    assert len({tuple(column.tolist()) for column in encoded[0, :, 0].T}) == 19


def test_values_of_encodings():
    labels = torch.tensor([[[0, 18]]], dtype=torch.uint8)
    assert encode(labels, "index").flatten().tolist() == [0, 1]
    assert encode(labels, "onehot").sum().item() == 2
    assert encode(labels, "onehot")[0, 18, 0].tolist() == [0, 1]
    torch.testing.assert_close(
        encode(labels, "colour")[0, :, 0, 1] * 255, torch.tensor(PALETTE[18], dtype=torch.float32)
    )
