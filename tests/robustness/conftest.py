"""Of the long tables of mistakes and damages, a fifth is in the default run; `make test-slow` runs the rest."""

import zlib

import pytest

_SAMPLED = ("test_contents.py", "test_messages.py")
_ONE_OF = 5


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks four of five cases of each table as slow, the same ones in every run."""
    for item in items:
        if item.path.name in _SAMPLED and hasattr(item, "callspec") and zlib.crc32(item.name.encode()) % _ONE_OF:
            item.add_marker(pytest.mark.slow)
