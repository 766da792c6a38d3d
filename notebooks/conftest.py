"""Tests execute the notebooks short; `make test-slow` those that train several networks."""

from collections.abc import Iterator

import pytest

SHORT = {
    "PKDN_STEPS": "2", "PKDN_TRAIN_FACES": "16", "PKDN_WIDTH": "8", "PKDN_SEEDS": "2", "OMP_NUM_THREADS": "1"
}  # fmt: skip
SLOW = ("02_look_at_the_prior.ipynb", "03_read_an_ablation.ipynb")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the notebooks that take longer."""
    for item in items:
        if item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Lets the kernel, which inherits the environment, train little; notebooks get no fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setenv(name, value)
        patch.delenv("PKDN_FOLDER", raising=False)
        return (yield)
