"""The game against a discriminator: who learns, what is saved, and that a resumed game goes on as it was."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from pkdn_lightning.losses import Objective, Progress, Reconstruction, Weight
from pkdn_lightning.modules import AdversarialModule
from pkdn_lightning.modules.adversarial import Errors
from pkdn_lightning.networks.contract import SRNetwork, SROutput


class Enlarge(SRNetwork):
    """A network of one convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 3, 3, padding=1), 4

    def forward(self, lr):
        return SROutput(nn.functional.interpolate(self.conv(lr), scale_factor=4))


class Discriminator(nn.Module):
    """A discriminator of one layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, faces):
        return self.layer(faces.mean((-2, -1)))


ADAM = partial(torch.optim.Adam, lr=0.01)


def module(gate=False, weight=0.5, optimizer=ADAM) -> AdversarialModule:
    torch.manual_seed(0)
    made = AdversarialModule(
        Enlarge(),
        Objective({"sr": (Weight(1.0), Reconstruction("l2"))}),
        optimizer,
        discriminator=Discriminator(),
        adversarial_weight=weight,
        gate=gate,
    )
    optimizer = made.configure_optimizers()
    made.optimizers = lambda **_: optimizer
    return made


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    hr = torch.rand(2, 3, 32, 32, generator=generator)
    return {"lr": nn.functional.avg_pool2d(hr, 4), "hr": hr, "row": torch.arange(2)}


@pytest.mark.parametrize(("mixed", "judged"), [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)])
def test_the_discriminator_computes_in_bfloat16_and_never_in_float16(batch, mixed, judged):
    made, seen = module(), []
    made.adversary.net.layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=mixed):
        step(made, batch)
    assert set(seen) == {judged}


def step(made, batch):
    total, parts = made.loss(batch, made.restore(batch), Progress(0, 0))
    made.optimizers().zero_grad()
    total.backward()
    made.optimizers().step()
    return total, parts


def test_both_learn(batch):
    made = module()
    before = [copy.deepcopy(each.state_dict()) for each in (made.net, made.adversary.net)]
    _, parts = step(made, batch)
    assert set(parts) == {"sr", "adversarial", "true", "restored"}
    for state, each in zip(before, (made.net, made.adversary.net), strict=True):
        assert any(not torch.equal(state[name], value) for name, value in each.state_dict().items())


def test_the_discriminator_wins_when_the_network_rests(batch):
    made = module()
    errors = []
    for _ in range(60):
        _, parts = made.loss(batch, made.restore(batch), Progress(0, 0))
        errors.append(float(parts["true"] + parts["restored"]))
    assert errors[-1] < errors[0]


def test_the_total_adds_the_weighted_game(batch):
    made = module(weight=0.5)
    total, parts = made.loss(batch, made.restore(batch), Progress(0, 0))
    assert total.item() == pytest.approx((parts["sr"] + 0.5 * parts["adversarial"]).item(), rel=1e-5)


def test_the_network_is_not_in_the_discriminators_gradients(batch):
    made = module()
    total, _ = made.loss(batch, made.restore(batch), Progress(0, 0))
    made.adversary.net.zero_grad()
    total.backward()
    assert all(parameter.grad is None for parameter in made.adversary.net.parameters())
    assert all(parameter.requires_grad for parameter in made.adversary.net.parameters())


def test_the_adversary_is_not_part_of_the_module():
    made = module()
    assert not any("adversary" in name for name in made.state_dict())
    assert len(list(made.parameters())) == 2
    assert copy.deepcopy(made.adversary) is made.adversary


@pytest.mark.parametrize(
    ("true", "restored", "network", "adversary"),
    [
        (0.35, 0.35, True, True),
        (0.65, 0.65, True, True),
        (0.2, 0.5, True, False),  # the discriminator is too good
        (0.8, 0.5, False, True),  # and here too bad
        (0.8, 0.2, True, True),  # both would rest, so both learn
    ],
)
def test_the_gate(true, restored, network, adversary):
    errors = Errors(torch.tensor(true), torch.tensor(restored))
    assert module(gate=True)._gated(errors) == (network, adversary)
    assert module(gate=False)._gated(errors) == (None, None)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.RMSprop])
def test_a_gated_network_does_not_move(batch, optimizer):
    """Also with optimisers whose momentum moves weights without a gradient."""
    made = module(gate=True, optimizer=partial(optimizer, lr=0.01))

    def trained(update):
        made._gated = lambda errors: (torch.tensor(update), torch.tensor(True))

        def closure():
            total, _ = made.loss(batch, made.restore(batch), Progress(0, 0))
            made.optimizers().zero_grad()
            total.backward()
            return total

        made.optimizer_step(0, 0, made.optimizers(), closure)
        states = [value.clone() for state in made.optimizers().state.values() for value in state.values()]
        return [*(each.detach().clone() for each in made.net.parameters()), *states]

    first, rested, again = trained(True), trained(False), trained(True)
    assert all(map(torch.equal, first, rested))
    assert not any(map(torch.equal, rested, again))


def test_a_network_that_rests_at_first_has_a_fresh_optimiser(batch):
    made = module(gate=True)
    made._gated = lambda errors: (torch.tensor(False), torch.tensor(True))
    weight = next(made.net.parameters())
    before = weight.detach().clone()

    def closure():
        total, _ = made.loss(batch, made.restore(batch), Progress(0, 0))
        total.backward()
        return total

    made.optimizer_step(0, 0, made.optimizers(), closure)
    assert torch.equal(weight, before)
    assert not any(value.any() for state in made.optimizers().state.values() for value in state.values())


@pytest.mark.parametrize("make_optimizer", [torch.optim.Adam, torch.optim.RMSprop])
def test_a_step_that_is_not_wanted_changes_nothing(batch, make_optimizer):
    adversary = module().adversary
    adversary.optimizer = make_optimizer(adversary.net.parameters())

    def step(wanted):
        adversary.learn(adversary.errors(batch["hr"], batch["hr"].flip(-1) / 2), 0.1, torch.tensor(wanted))
        return copy.deepcopy(adversary.state())

    def differing(one, other):
        states = zip(one["optimizer"]["state"].values(), other["optimizer"]["state"].values(), strict=True)
        pairs = [*zip(one["net"].values(), other["net"].values(), strict=True)]
        pairs += [pair for a, b in states for pair in zip(a.values(), b.values(), strict=True)]
        return [not torch.equal(a, b) for a, b in pairs]

    untouched = copy.deepcopy(adversary.net.state_dict())
    first = step(False)  # the optimiser has no state yet
    assert all(torch.equal(value, untouched[name]) for name, value in first["net"].items())
    assert all(not value.any() for state in first["optimizer"]["state"].values() for value in state.values())
    learned = step(True)
    assert any(differing(first, learned))
    assert not any(differing(learned, step(False)))


def test_a_resumed_game_goes_on_as_it_was(batch):
    undisturbed = module()
    for _ in range(3):
        step(undisturbed, batch)
    checkpoint: dict = {}
    undisturbed.on_save_checkpoint(checkpoint)
    checkpoint = copy.deepcopy(checkpoint)
    resumed = module()
    resumed.net.load_state_dict(undisturbed.net.state_dict())
    resumed.on_load_checkpoint(checkpoint)
    optimizer = resumed.configure_optimizers()
    resumed.optimizers = lambda: optimizer
    optimizer.load_state_dict(copy.deepcopy(undisturbed.optimizers().state_dict()))
    for each in (undisturbed, resumed):
        step(each, batch)
    for mine, other in zip(undisturbed.adversary.net.parameters(), resumed.adversary.net.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
