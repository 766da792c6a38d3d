"""The objective: equations, schedules, skipped work, and checks before the first step."""

import pytest
import torch
from torch import nn

from pkdn_lightning.config import compose
from pkdn_lightning.errors import ConfigError, DataError, ShapeError
from pkdn_lightning.losses import (
    AttentionTransfer,
    FaceFeatures,
    FeatureDistillation,
    Intermediate,
    LossTerm,
    Objective,
    PriorEstimate,
    Progress,
    Reconstruction,
    Spectrum,
    TeacherImage,
    VGGFeatures,
    Weight,
)
from pkdn_lightning.networks.contract import SROutput
from pkdn_lightning.networks.lightcnn import LightCNNFeatures
from pkdn_lightning.networks.vgg import VGG16Features
from pkdn_lightning.train.build import build_objective

START = Progress(step=0, epoch=0)


def output(**features) -> SROutput:
    return SROutput(
        torch.rand(2, 3, 8, 8), features or {"down1": torch.rand(2, 4, 4, 4), "up1": torch.rand(2, 4, 8, 8)}, {}
    )


class Counted(LossTerm):
    """Counts how often it is computed."""

    def __init__(self, needs_teacher: bool) -> None:
        super().__init__()
        self.needs_teacher, self.calls = needs_teacher, 0

    def forward(self, output, hr, teacher_output):
        self.calls += 1
        return output.sr.mean()


def test_equation_2():
    student, teacher, hr = output(), output(), torch.rand(2, 3, 8, 8)
    objective = Objective(
        {
            "sr": (Weight(1.0), Reconstruction()),
            "ts": (Weight(0.1), TeacherImage()),
            "fs": (Weight(10.0), FeatureDistillation()),
        }
    )
    total, parts = objective(student, hr, teacher, START)
    sr = (student.sr - hr).abs().mean()
    ts = (teacher.sr - student.sr).abs().mean()
    fs = sum((teacher.features[level] - student.features[level]).abs().mean() for level in ("down1", "up1")) / 2
    torch.testing.assert_close(total, sr + 0.1 * ts + 10 * fs)
    torch.testing.assert_close(parts, {"sr": sr, "ts": ts, "fs": fs})


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (Weight(10, "linear", duration=10), [10, 9, 8, 1, 0, 0]),  # KDFSRNet's λ_FS at epochs 0 1 2 9 10 11
        (Weight(0.1, "hold", duration=10), [0.1, 0.1, 0.1, 0.1, 0.1, 0]),  # KDFSRNet's λ_TS
        (Weight(2), [2, 2, 2, 2, 2, 2]),
        (Weight(4, "linear", duration=4, start=2), [0, 0, 4, 0, 0, 0]),
    ],
)
def test_schedules_over_epochs(weight, expected):
    found = [weight.at(Progress(step=epoch * 100, epoch=epoch)) for epoch in (0, 1, 2, 9, 10, 11)]
    assert found == pytest.approx(expected)


def test_schedule_over_steps():
    weight = Weight(1.0, "linear", duration=200, unit="step")
    assert [weight.at(Progress(step=step, epoch=0)) for step in (0, 50, 200)] == [1.0, 0.75, 0.0]


def test_weight_zero_is_never_computed():
    skipped = Counted(needs_teacher=True)
    objective = Objective({"sr": (Weight(1.0), Reconstruction()), "ts": (Weight(0.0), skipped)})
    total, parts = objective(output(), torch.rand(2, 3, 8, 8), None, START)
    assert (skipped.calls, set(parts)) == (0, {"sr"})
    assert not objective.needs_teacher()
    assert torch.isfinite(total)


def test_a_term_that_has_run_out_frees_the_teacher():
    objective = Objective(
        {"sr": (Weight(1.0), Reconstruction()), "fs": (Weight(10, "linear", duration=3), FeatureDistillation())}
    )
    assert objective.needs_teacher()
    assert objective.needs_teacher(Progress(step=0, epoch=2))
    assert not objective.needs_teacher(Progress(step=0, epoch=3))
    _, parts = objective(output(), torch.rand(2, 3, 8, 8), None, Progress(step=0, epoch=3))
    assert set(parts) == {"sr"}


def test_the_distance_to_the_teachers_face():
    half, teacher = SROutput(torch.full((1, 3, 8, 8), 0.5)), SROutput(torch.full((1, 3, 8, 8), 0.75))
    found = [term(half, half.sr, teacher).item() for term in (TeacherImage(), TeacherImage("l1"), TeacherImage("l2"))]
    assert found == [0.25, 0.25, 0.0625]


@pytest.mark.parametrize("name", ["reconstruction_l1_l2", "distillation_warm_start_l2"])
def test_objectives_of_both_distances(name):
    """L1 to the truth; the mean squared error, to the truth or to the teacher's face, counts 150 times."""
    objective = build_objective(compose("train", ["experiment=student_small", f"objective={name}"]).objective)
    face, other = SROutput(torch.full((1, 3, 8, 8), 0.5)), torch.full((1, 3, 8, 8), 0.75)
    total, _ = objective(face, other, SROutput(other) if objective.needs_teacher() else None, START)
    assert total.item() == pytest.approx(0.25 + 150 * 0.0625)


def test_which_terms_read_the_teachers_features():
    terms = {"sr": Reconstruction(), "ts": TeacherImage(), "fs": FeatureDistillation(), "at": AttentionTransfer()}
    assert Objective({name: (1.0, term) for name, term in terms.items()}).feature_terms == ["fs", "at"]


def test_no_levels_at_all_are_a_mistake():
    with pytest.raises(ConfigError, match="compares nothing"):
        FeatureDistillation(levels=[])


def test_chosen_levels_and_normalisation():
    student, teacher, hr = output(), output(), torch.rand(2, 3, 8, 8)
    expected = (teacher.features["up1"] - student.features["up1"]).abs().mean()
    torch.testing.assert_close(FeatureDistillation(["up1"])(student, hr, teacher), expected)
    scaled = SROutput(student.sr, {k: 7 * v for k, v in student.features.items()}, {})
    scaled_teacher = SROutput(teacher.sr, {k: 7 * v for k, v in teacher.features.items()}, {})
    normalised = FeatureDistillation(normalised=True)
    torch.testing.assert_close(
        normalised(scaled, hr, scaled_teacher), normalised(student, hr, teacher), rtol=1e-4, atol=1e-5
    )


def test_features_are_normalised_by_the_teachers_deviation():
    features = torch.randn(2, 4, 8, 8)
    student, teacher = (SROutput(torch.rand(2, 3, 8, 8), {"up1": features * factor}) for factor in (3.0, 2.0))
    expected = features.abs().mean() / (2 * features.std())  # |3f - 2f| over the deviation of 2f
    torch.testing.assert_close(FeatureDistillation(normalised=True)(student, student.sr, teacher), expected)


def test_features_in_mixed_precision_are_compared_exactly_and_without_copies_in_float32():
    student, teacher = (torch.randn(2, 4, 8, 8).bfloat16().requires_grad_() for _ in range(2))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each) or each, lambda each: each):
        loss = FeatureDistillation()(output(up1=student), None, output(up1=teacher.detach()))
    loss.backward()
    assert {each.dtype for each in kept} == {torch.bfloat16}
    twin = student.detach().float().requires_grad_()
    exact = nn.functional.l1_loss(twin, teacher.float())
    exact.backward()
    torch.testing.assert_close(loss, exact, rtol=1e-3, atol=0)
    assert torch.equal(student.grad, twin.grad.bfloat16())


def test_no_gradient_reaches_the_parts_that_are_logged():
    student = SROutput(torch.rand(1, 3, 4, 4, requires_grad=True), {}, {})
    total, parts = Objective({"sr": (Weight(1.0), Reconstruction())})(student, torch.rand(1, 3, 4, 4), None, START)
    assert total.requires_grad
    assert not parts["sr"].requires_grad


class TestErrors:
    def test_different_widths_name_their_levels(self):
        objective = Objective({"sr": (Weight(1.0), Reconstruction()), "fs": (Weight(1.0), FeatureDistillation())})
        narrow = output(down1=torch.rand(2, 2, 4, 4), up1=torch.rand(2, 4, 8, 8))
        wide = output(down1=torch.rand(2, 4, 4, 4), up1=torch.rand(2, 4, 8, 8))
        with pytest.raises(ShapeError, match=r"down1: student \(2, 2, 4, 4\), teacher \(2, 4, 4, 4\)") as caught:
            objective.check(narrow, wide)
        assert "up1" not in str(caught.value)

    def test_unknown_level(self):
        with pytest.raises(ShapeError, match="up9"):
            FeatureDistillation(["up9"]).check(output().features, output().features)

    def test_different_scales(self):
        objective = Objective({"sr": (Weight(1.0), Reconstruction()), "ts": (Weight(1.0), TeacherImage())})
        with pytest.raises(ShapeError, match="same scale"):
            objective.check(output(), SROutput(torch.rand(2, 3, 16, 16), {}, {}))

    @pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
    def test_impossible_weight(self, value):
        with pytest.raises(ConfigError, match=r"objective\.sr\.weight"):
            Objective({"sr": (Weight(value), Reconstruction())})

    def test_schedule_without_length(self):
        with pytest.raises(ConfigError, match=r"objective\.fs\.duration"):
            Objective({"sr": (Weight(1.0), Reconstruction()), "fs": (Weight(1.0, "linear"), FeatureDistillation())})

    def test_nothing_to_learn(self):
        with pytest.raises(ConfigError, match="lasts the whole training"):
            Objective({"sr": (Weight(0.0), Reconstruction())})


class TestTermsOfOtherMethods:
    def output(self):
        return SROutput(torch.full((1, 3, 8, 8), 0.5), {}, {
            "sr1": torch.zeros(1, 3, 8, 8), "sr2": torch.full((1, 3, 8, 8), 0.25),
            "heatmaps1": torch.zeros(1, 5, 2, 2), "heatmaps2": torch.ones(1, 5, 2, 2),
        })  # fmt: skip

    def test_squared_reconstruction(self):
        assert Reconstruction("l2")(self.output(), torch.ones(1, 3, 8, 8), None).item() == pytest.approx(0.25)

    def test_earlier_steps_add_up(self):
        loss = Intermediate("sr")(self.output(), torch.ones(1, 3, 8, 8), None)
        assert loss.item() == pytest.approx(1 + 0.75)

    def test_estimates_of_a_prior_add_up_at_their_size(self):
        heatmaps = torch.zeros(1, 5, 4, 4)
        heatmaps[:, :, :2] = 1  # the mean of the upper half of the small map
        loss = PriorEstimate("heatmaps")(self.output(), torch.ones(1, 3, 8, 8), None, heatmaps=heatmaps)
        assert loss.item() == pytest.approx(0.5 + 0.5)

    def test_a_true_prior_is_averaged_to_the_estimates_size(self):
        fine = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).repeat(4, 4).expand(1, 5, 8, 8)  # a quarter of each square is 1
        estimate = SROutput(torch.ones(1, 3, 8, 8), {}, {"heatmaps": torch.full((1, 5, 4, 4), 0.25)})
        assert PriorEstimate("heatmaps")(estimate, estimate.sr, None, heatmaps=fine).item() == 0

    def test_a_spectrum_equals_itself_only(self):
        face = torch.rand(1, 3, 8, 8)
        output = SROutput(face, {}, {"frequency": face})
        assert Spectrum()(output, face, None).item() == 0
        assert Spectrum()(output, face.flip(-1), None).item() > 0

    def test_the_objective_hands_priors_to_who_asks(self):
        objective = Objective({"sr": (Weight(1.0), Reconstruction()), "heat": (Weight(0.1), PriorEstimate("heatmaps"))})
        batch = {"heatmaps": torch.zeros(1, 5, 4, 4)}
        total, parts = objective(self.output(), torch.ones(1, 3, 8, 8), None, Progress(0, 0), batch)
        assert total.item() == pytest.approx(0.5 + 0.1 * 1.0)
        assert set(parts) == {"sr", "heat"}

    def test_a_missing_prior_is_named(self):
        objective = Objective({"sr": (Weight(1.0), Reconstruction()), "heat": (Weight(0.1), PriorEstimate("heatmaps"))})
        with pytest.raises(DataError, match="term 'heat' needs heatmaps"):
            objective(self.output(), torch.ones(1, 3, 8, 8), None, Progress(0, 0), {})

    def test_a_network_that_estimates_nothing_is_told(self):
        with pytest.raises(ConfigError, match=r"network's output 'coarse'.*it returns: sr1, sr2"):
            Intermediate("coarse")(self.output(), torch.ones(1, 3, 8, 8), None)

    def test_channels_that_do_not_fit_are_told(self):
        with pytest.raises(ShapeError, match=r"landmarks has 68 channels, components 5"):
            PriorEstimate("heatmaps")(self.output(), torch.ones(1, 3, 8, 8), None, heatmaps=torch.zeros(1, 68, 4, 4))

    def test_face_features_compare_what_lightcnn_sees(self, tmp_path):
        torch.manual_seed(0)
        net = LightCNNFeatures()
        layers = {"layers.0.layer": "features.0.filter"}
        for number, stage in enumerate(net.layers):
            if isinstance(stage, nn.Sequential):
                layers |= {f"layers.{number}.0.layer": f"features.{number}.conv_a.filter"}
                layers |= {f"layers.{number}.1.layer": f"features.{number}.conv.filter"}
        renamed = {layers.get(key.rpartition(".")[0], key.rpartition(".")[0]) + "." + key.rpartition(".")[2]: value
                   for key, value in net.state_dict().items()}  # fmt: skip
        torch.save(renamed, tmp_path / "features.pth")
        self.check_frozen(FaceFeatures(str(tmp_path / "features.pth")))

    def test_vgg_features_read_the_published_file(self, tmp_path):
        torch.manual_seed(0)
        state = VGG16Features().state_dict() | {"classifier.0.weight": torch.zeros(2, 2)}
        torch.save(state, tmp_path / "vgg16.pth")
        self.check_frozen(VGGFeatures(str(tmp_path / "vgg16.pth")))

    def check_frozen(self, term):
        faces = torch.rand(1, 3, 32, 32)
        assert term(SROutput(faces, {}, {}), faces, None).item() == 0
        moved = faces.flip(-1).requires_grad_()
        loss = term(SROutput(moved, {}, {}), faces, None)
        loss.backward()
        assert loss.item() > 0
        assert moved.grad.abs().sum() > 0
        assert not list(term.parameters())

    @pytest.mark.parametrize("term", [FaceFeatures, VGGFeatures])
    def test_features_without_their_weights_say_what_to_do(self, term, tmp_path):
        with pytest.raises(ConfigError, match=r"objective\.features\.weight=0"):
            term(None)
        torch.save({"other.weight": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(ConfigError, match="holds the weights of another network"):
            term(str(tmp_path / "other.pth"))
        (tmp_path / "text.pth").write_text("no weights")
        with pytest.raises(ConfigError, match="cannot be read as weights"):
            term(str(tmp_path / "text.pth"))
