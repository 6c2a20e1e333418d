"""`headrace bench WHAT`: each benchmark that can be asked for is there."""

import importlib

import pytest

from headrace.bench.command import _BENCHES  # the names are nowhere else
from headrace.main import main


@pytest.mark.parametrize("name", sorted(_BENCHES))
def test_each_benchmark_can_be_run(name):
    assert callable(importlib.import_module(_BENCHES[name]).run)


def test_an_unknown_benchmark_is_refused_with_those_that_are_known(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "nothing"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in _BENCHES)
