"""`module.compile=true`: how many graphs a training compiles, counted by a dynamo backend that runs them eagerly."""

import weakref

import pytest
import torch

from pkdn_lightning.config import compose
from pkdn_lightning.errors import ConfigError, TrainingError
from pkdn_lightning.modules import StudentModule, base
from pkdn_lightning.networks.pkdn import PKDNStudent
from pkdn_lightning.train import build, train
from tests.conftest import write_store

SHORT = (
    "data.batch_size=4", "data.name=faces", "logger=csv", "trainer=cpu", "trainer.enable_progress_bar=false",
    "trainer.max_epochs=-1", "trainer.max_steps=3", "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=2", "module.compile=true", "size=reduced",
)  # fmt: skip
SMALL = ("model.width=8", "model.levels=2", "model.rcabs_per_level=1")


@pytest.fixture
def graphs(monkeypatch):
    """Returns the list of compiled graphs: operations, whether gradients are taken, shapes of weights and images."""
    compiled, compile_in_place = [], torch.nn.Module.compile

    def backend(graph, inputs):
        shapes = [tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor)]
        compiled.append((len(graph.graph.nodes), torch.is_grad_enabled(), *shapes))
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **given: compile_in_place(self, **given, backend=backend)
    )
    yield compiled
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Faces of 64 px, which every network takes."""
    return write_store(
        tmp_path_factory.mktemp("stores") / "faces", size_px=64, counts={"train": 8, "val": 1, "test": 1}
    )


@pytest.fixture
def compiled_config(faces, tmp_path):
    """Returns a function that composes a compiled training of three steps on them."""

    def make(experiment, *overrides):
        places = [f"data.store={faces.path}", f"run_dir={tmp_path / 'run'}", f"paths.runs={tmp_path / 'runs'}"]
        return compose("train", [f"experiment={experiment}", *SHORT, *places, *overrides])

    return make


def test_student_and_teacher_are_compiled_once_each(compiled_config, graphs):
    """Not for the count of MACs, validation, tests or grids, whose batches have other shapes and no gradients."""
    assert train(compiled_config("student", *SMALL)).run.finished
    teacher, student = 3 + 2, 3  # sizes of the stages, and of the feature fusion blocks
    assert [graph[1] for graph in graphs].count(True) == teacher + student
    assert [graph[1] for graph in graphs].count(False) == teacher  # the frozen teacher
    assert len(set(graphs)) == len(graphs)


GRAPHS = {  # blocks of different kinds or input sizes
    "dic": 4, "fishfsrnet": 10, "fsrnet": 4, "kdfsrnet_teacher": 5, "rcan": 1, "sfmnet": 12, "sisn": 1, "sparnet": 7,
    "teacher": 9, "urdgn": 1,
}  # fmt: skip
OWN = {"urdgn": ("module.discriminator.size_px=64", "data.batch_size=4")}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", GRAPHS)
def test_a_block_is_compiled_once_for_each_size(experiment, compiled_config, graphs):
    assert train(compiled_config(experiment, *OWN.get(experiment, ()))).run.finished
    assert len(set(graphs)) == len(graphs) == GRAPHS[experiment]


@pytest.mark.slow
def test_blocks_that_are_recomputed_are_compiled(compiled_config, graphs):
    train(compiled_config("student", "objective=reconstruction", "module.recompute=true"))
    assert len(set(graphs)) == len(graphs) == 7  # stages of 1, 2, 4 or 8 blocks at three sizes


def test_a_compiled_training_ends_where_an_eager_one_does(compiled_config, graphs, tmp_path):
    plain = (*SMALL, "objective=reconstruction")
    compiled = train(compiled_config("student", *plain))
    eager = train(compiled_config("student", *plain, f"run_dir={tmp_path / 'eager'}", "module.compile=false"))
    assert graphs
    assert compiled.metrics == pytest.approx(eager.metrics, abs=1e-4)


def test_taps_in_compiled_blocks_are_read_at_every_step(graphs):
    """In one block of several of the same class and size, which share a graph otherwise."""
    for tap in ("encoder.1.0", "decoder.0.0.conv_in", "bottleneck.1"):
        net = PKDNStudent(width=8, levels=2, rcabs_per_level=2)
        module = StudentModule(net, features={"deep": tap})
        module.compile_networks()
        for _ in range(2):
            assert "deep" in module.restore({"lr": torch.rand(2, 3, 8, 8)}).features
    assert graphs


def test_networks_before_do_not_count_for_the_limit_of_graphs(graphs, monkeypatch):
    monkeypatch.setattr(base, "_SHAPES_PER_BLOCK", 3)
    for width in (4, 5):
        module = StudentModule(PKDNStudent(width=width, levels=2, rcabs_per_level=1))
        module.compile_networks()
        module.restore({"lr": torch.rand(2, 3, 8, 8)})
    assert len(graphs) == 2 * 3


def test_a_compiler_that_fails_is_no_stack_trace(compiled_config, monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("Failed to find C compiler.")

    compile_in_place = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compile_in_place(self, backend=backend))
    with pytest.raises(TrainingError, match=r"Failed to find C compiler(?s:.*)add: module.compile=false") as caught:
        train(compiled_config("student", *SMALL, "objective=reconstruction"))
    assert len(str(caught.value).splitlines()) <= 4


@pytest.fixture
def overwriting(monkeypatch):
    """Pretends CUDA graphs: at the beginning of a step, networks overwrite what they returned in the one before.

    Returns the options of each compilation, and the number of outputs of the step before each one.
    """
    options, outputs, steps, compile_in_place = [], [], [], torch.nn.Module.compile

    def backend(graph, inputs):
        def run(*arguments):
            returned = graph(*arguments)
            outputs.extend(weakref.ref(each) for each in returned)
            return returned

        return run

    def compiled(self, **given):
        options.append(given)
        compile_in_place(self, backend=backend)

    def begin():
        living = [each() for each in outputs if each() is not None]
        for each in living:
            each.data.fill_(torch.nan)
        steps.append(len(outputs))
        outputs.clear()

    torch._dynamo.reset()
    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", begin)
    monkeypatch.setattr(build, "on_gpu", lambda accelerator: True)
    yield options, steps
    torch._dynamo.reset()


@pytest.mark.slow
def test_cuda_graphs_may_overwrite_outputs_when_the_next_step_begins(compiled_config, overwriting, tmp_path):
    """And not before: the teacher's output is needed until the backward pass of the student."""
    options, steps = overwriting
    graphs = train(compiled_config("student", *SMALL, "module.compile=graphs", "ema=standard"))
    assert options == [{"mode": "reduce-overhead"}] * 3  # the teacher in its own training, the student, the teacher
    assert len(steps) == 3 + 3
    assert min(steps[1:]) > 0
    eager = train(
        compiled_config("student", *SMALL, f"run_dir={tmp_path / 'eager'}", "module.compile=false", "ema=standard")
    )
    assert graphs.metrics == pytest.approx(eager.metrics, abs=1e-4)


def test_cuda_graphs_need_a_gpu_and_batches_that_are_not_accumulated(compiled_config, graphs, capsys):
    assert train(compiled_config("student", *SMALL, "objective=reconstruction", "module.compile=graphs")).run.finished
    assert "There is no GPU for CUDA graphs: module.compile=graphs acts as true." in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"accumulate_grad_batches=2(?s:.*)Set module.compile=true"):
        train(compiled_config("student", "module.compile=graphs", "trainer.accumulate_grad_batches=2"))


def test_what_compile_may_be(compiled_config):
    with pytest.raises(ConfigError, match=r"module.compile=fast: expected .*graphs"):
        train(compiled_config("student", "module.compile=fast"))
