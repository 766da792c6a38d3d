"""The modules with a plain `lightning.Trainer` and any DataLoader: no Hydra, no datamodule of this package."""

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from pkdn_lightning import load_model
from pkdn_lightning.data import FaceSRDataModule
from pkdn_lightning.data.batches import fixed_plan
from pkdn_lightning.errors import ConfigError, DataError, ShapeError
from pkdn_lightning.losses import (
    AttentionTransfer,
    FeatureAffinity,
    FeatureDistillation,
    Objective,
    Progress,
    Reconstruction,
    TeacherImage,
)
from pkdn_lightning.models.checkpoints import CARD_KEY
from pkdn_lightning.modules import AdversarialModule, StudentModule, TeacherModule
from pkdn_lightning.networks.contract import SRNetwork, SROutput
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher
from pkdn_lightning.networks.sparnet import SPARNet
from pkdn_lightning.networks.urdgn import URDGNDiscriminator

START = Progress(step=0, epoch=0)


class Mine(SRNetwork):
    """A network outside the package, with positional arguments, that returns the face only."""

    def __init__(self, scale, widths=(4, 4), **options):
        super().__init__()
        first, second = widths
        self.scale, self.options = scale, options
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, first, 3, padding=1), torch.nn.Conv2d(first, second, 1))
        self.tail = torch.nn.Conv2d(second, 3 * scale**2, 3, padding=1)

    def forward(self, lr):
        return SROutput(torch.nn.functional.pixel_shuffle(self.tail(self.body(lr)), self.scale))


class Picky(SRNetwork):
    def __init__(self, scale, layer):
        super().__init__()
        self.scale, self.layer = scale, layer


def teacher_net(width=4):
    return PKDNTeacher(scale=4, width=width, levels=2)


def student_net(width=4):
    return PKDNStudent(scale=4, width=width, levels=2, rcabs_per_level=1)


def loader(side=32):
    """Batches as any DataLoader collates them, without what only this package's datamodule adds."""
    torch.manual_seed(0)
    return DataLoader([{"lr": torch.rand(3, side // 4, side // 4), "hr": torch.rand(3, side, side),
                        "parsing": torch.rand(3, side, side)} for _ in range(4)], batch_size=2)  # fmt: skip


def trainer(steps=2, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lightning.Trainer(max_steps=steps, **quiet, **options)


def distillation(fs=None, weight=1.0):
    return Objective({"sr": (1.0, Reconstruction()), "ts": (0.1, TeacherImage()),
                      "fs": (weight, fs or FeatureDistillation())})  # fmt: skip


def fitted(module, steps=2, path="model.ckpt", **options):
    made = trainer(steps)
    made.fit(module, loader(), loader(), **options)
    made.save_checkpoint(path)
    return made


def test_teacher_and_student_without_hydra(tmp_path):
    teacher = TeacherModule(teacher_net())
    fitted(teacher, path="teacher.ckpt")
    loaded = TeacherModule.load_from_checkpoint("teacher.ckpt")
    assert torch.equal(loaded.net.head.weight, teacher.net.head.weight)

    student = StudentModule(student_net(), distillation(), teacher=teacher.net)
    made = fitted(student, path="student.ckpt")
    assert made.callback_metrics.keys() >= {"val/psnr_y", "train/loss/fs", "train/loss/ts"}
    assert not any(parameter.requires_grad for parameter in teacher.net.parameters())

    again = StudentModule.load_from_checkpoint("student.ckpt", objective=distillation(), teacher=loaded.net)
    assert (again.role, again.net.training) == ("student", True)
    fitted(again)  # training goes on
    lr = torch.rand(1, 3, 8, 8)
    assert torch.equal(load_model("student.ckpt")(lr).sr, student.eval().net(lr).sr)
    fitted(StudentModule(student_net(), distillation(), teacher=teacher_net()), steps=4, ckpt_path="student.ckpt")


def test_tests_are_named_after_a_mapping_of_loaders_or_numbered():
    module = StudentModule(student_net())
    assert trainer().test(module, loader(), verbose=False)[0].keys() == {"test/0/psnr_y", "test/0/ssim_y"}
    named = trainer().test(module, {"a": loader(), "b": loader()}, verbose=False)
    assert {"test/a/psnr_y", "test/b/psnr_y"} <= {name for each in named for name in each}
    assert trainer().predict(module, loader())[0].shape == (2, 3, 32, 32)


def test_an_adversarial_module_needs_no_datamodule_either():
    made = AdversarialModule(Mine(4), discriminator=URDGNDiscriminator(size_px=32), adversarial_weight=0.1)
    fitted(made)
    assert load_model("model.ckpt").spec == made.net.spec


def test_a_network_from_outside_is_recorded_with_all_its_arguments():
    fitted(StudentModule(Mine(4, (4, 6), kind="b")))
    expected = {"_target_": f"{__name__}.Mine", "scale": 4, "widths": [4, 6], "kind": "b"}
    card = torch.load("model.ckpt", weights_only=True)[CARD_KEY]
    assert card == {"network": expected, "scale": 4, "encoding": "colour", "degradation": "pil"}
    assert load_model("model.ckpt").options == {"kind": "b"}


def test_the_card_says_what_the_datamodule_knows(store):
    data = FaceSRDataModule(store.path, scale=4, encoding="onehot", batch_size=4)
    made = trainer()
    made.fit(
        TeacherModule(PKDNTeacher(scale=4, width=4, levels=2, parsing_channels=19), card={"experiment": "x"}), data
    )
    made.save_checkpoint("model.ckpt")
    card = torch.load("model.ckpt", weights_only=True)[CARD_KEY]
    assert (card["encoding"], card["size_px"], card["experiment"]) == ("onehot", 32, "x")
    assert card["data"]["sha256"] == store.sha256


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: StudentModule(Picky(4, torch.nn.ReLU())), ConfigError, r"Picky\(layer=...\) is a ReLU"),
        (lambda: StudentModule(torch.nn.Conv2d(3, 3, 1)), ConfigError, "Conv2d is no network of face super-resolution"),
        (lambda: StudentModule(Mine(4), features={"a": "bdy.0"}), ConfigError, r"no such layer. Did you mean 'body.0'"),
        (lambda: StudentModule(student_net(), distillation()), ConfigError, "needs a teacher"),
        (lambda: StudentModule(Mine(4), distillation(FeatureDistillation(adapters=True)), teacher=teacher_net()),
         ShapeError, r"the student has \[\], the teacher \['down1'"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_said_at_once(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_missing_key_and_features_that_do_not_match_are_said_at_the_first_step():
    with pytest.raises(DataError, match=r"PKDNTeacher reads 'parsing', which the batch lacks; it has lr, hr\."):
        teacher_net().inputs({"lr": 1, "hr": 2})
    with pytest.raises(
        ShapeError, match=r"down1: student \(2, 4, 16, 16\), teacher \(2, 6, 16, 16\)[^$]*adapters=true"
    ):
        fitted(StudentModule(student_net(), distillation(), teacher=teacher_net(width=6)))


def returns(result):
    """A network of scale 4 whose forward returns what `result` makes of the face."""
    net = Mine(4)
    net.forward = lambda lr: result(Mine.forward(net, lr).sr)
    return net


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda sr: sr, ConfigError, r"Mine.forward returned a Tensor; expected: return SROutput\(sr\)"),
        (lambda sr: SROutput(sr[..., ::2]), ShapeError, r"made SR \(2, 3, 32, 16\) of LR \(2, 3, 8, 8\)"),
        (lambda sr: SROutput(sr[:, :1]), ShapeError, r"scale=4 needs \(2, 3, 32, 32\)"),
    ],
)
def test_what_forward_returns_is_checked(result, error, message):
    with pytest.raises(error, match=message):
        fitted(StudentModule(returns(result)))


def test_batches_that_are_no_mappings_or_lack_faces_are_named_without_their_values():
    lr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32)
    module = StudentModule(student_net())
    with pytest.raises(DataError, match=r"the loader gives a list of Tensor, Tensor\.$"):
        module.restore([lr, hr])
    with pytest.raises(DataError, match=r"StudentModule reads 'hr', which the batch lacks; it has lr\.$"):
        module.loss({"lr": lr}, module.restore({"lr": lr}), START)


PAIRS = {
    "width": (student_net, teacher_net, {}, None),
    "family": (lambda: SPARNet(scale=4, width=4, max_width=8, res_depth=1, attention_width=4), teacher_net, {},
               {"down1": "down1", "up1": "up1"}),
    "by layer": (lambda: Mine(4), teacher_net, {"d": "body.0"}, {"d": "down2"}),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("term", [FeatureDistillation, AttentionTransfer, FeatureAffinity])
def test_any_pair_can_be_distilled(pair, term):
    net, teacher, features, levels = PAIRS[pair]
    fs = term(levels, adapters=True) if term is FeatureDistillation else term(levels)
    torch.manual_seed(0)
    module = StudentModule(net(), distillation(fs), teacher=teacher(6), features=features)
    batch = next(iter(loader(64)))
    total, parts = module.loss(batch, module.restore(batch), START)
    total.backward()
    plain = Objective({"sr": (1.0, Reconstruction())})
    assert total > plain(module.restore(batch), batch["hr"], None, START)[0]  # the loss changes
    assert all(parameter.grad.abs().sum() > 0 for parameter in fs.parameters())
    assert sum(1 for _ in fs.parameters()) == (2 * len(module.objective.terms["fs"].convs) if fs.adapters else 0)
    assert parts["fs"] > 0


def test_a_term_of_features_is_zero_for_equal_features_and_reaches_the_student():
    features = {"a": torch.rand(2, 4, 8, 8, requires_grad=True)}
    for term in (AttentionTransfer(), FeatureAffinity(size_px=4)):
        same = SROutput(torch.rand(2, 3, 8, 8), {"a": features["a"].detach()})
        assert term(same, same.sr, same).item() == pytest.approx(0, abs=1e-6)
        other = SROutput(same.sr, {"a": torch.rand(2, 7, 16, 16)})  # more channels, another size
        term(SROutput(same.sr, features), same.sr, other).backward()
        assert features["a"].grad.abs().sum() > 0


def test_attention_and_affinity_as_in_their_papers():
    student, teacher = torch.rand(1, 2, 2, 2), torch.rand(1, 3, 2, 2)
    found = AttentionTransfer()(SROutput(student, {"a": student}), student, SROutput(teacher, {"a": teacher}))
    maps = [each.square().sum(1).flatten() for each in (student, teacher)]
    assert found.item() == pytest.approx((maps[0] / maps[0].norm() - maps[1] / maps[1].norm()).norm().item(), rel=1e-5)
    found = FeatureAffinity()(SROutput(student, {"a": student}), student, SROutput(teacher, {"a": teacher}))
    matrices = []
    for each in (student, teacher):
        places = [each[0, :, y, x] for y in range(2) for x in range(2)]
        cosine = torch.nn.functional.cosine_similarity
        matrices.append(torch.stack([torch.stack([cosine(a, b, dim=0) for a in places]) for b in places]))
    assert found.item() == pytest.approx((matrices[0] - matrices[1]).abs().mean().item(), rel=1e-5)


def test_adapters_are_trained_resumed_and_no_part_of_the_network(tmp_path):
    def made():
        torch.manual_seed(0)
        return StudentModule(student_net(), distillation(FeatureDistillation(adapters=True)), teacher=teacher_net(6))

    module = made()
    before = {name: value.clone() for name, value in module.objective.state_dict().items()}
    fitted(module, path="half.ckpt")
    assert any(not torch.equal(before[name], value) for name, value in module.objective.state_dict().items())
    fitted(module := made(), steps=4)  # unbroken
    resumed = made()
    fitted(resumed, steps=4, path="resumed.ckpt", ckpt_path="half.ckpt")
    for name, value in module.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)

    state = torch.load("model.ckpt", weights_only=True)["state_dict"]
    assert {name for name in state if not name.startswith("net.")} == {f"objective.{name}" for name in before}
    assert load_model("model.ckpt").state_dict().keys() == student_net().state_dict().keys()
    objective = distillation(FeatureDistillation(adapters=True))
    loaded = StudentModule.load_from_checkpoint("model.ckpt", objective=objective, teacher=teacher_net(6))
    for name, value in objective.state_dict().items():
        assert torch.equal(value, state[f"objective.{name}"])
    assert loaded.role == "student"


@pytest.mark.parametrize("kind", [StudentModule, TeacherModule])
def test_trainer_predict_restores_the_test_faces(kind, store):
    data = FaceSRDataModule(store.path, scale=4, batch_size=4, eval_batch_size=2)
    module = kind(student_net() if kind is StudentModule else teacher_net())
    restored = torch.cat(trainer().predict(module, datamodule=data))
    batch = data.batch(fixed_plan(store.indices("test")))
    with torch.inference_mode():
        torch.testing.assert_close(restored, module.eval()(batch))
