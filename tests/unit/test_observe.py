"""Questions to Prometheus, samples over turns, and adapters: without any server."""

import re
from importlib.metadata import EntryPoint

import pytest
from docs_tables import DOCS

from capper.observe.adapters import Adapters, MetricError, MetricRequest
from capper.observe.question import Question, UnusableError
from capper.observe.selectors import selectors
from capper.observe.windows import Windows


@pytest.mark.parametrize(
    ("promql", "found"),
    [
        ("sum(rate(a_total[1m])) / 1000", ("a_total",)),
        (
            'sum by (x) (a{b="}("} offset 5m) * on (q) group_left (w) c',
            ('a{b="}("} offset 5m', "c"),
        ),
        ('{__name__=~"a|b"}', ('{__name__=~"a|b"}',)),
        ("max_over_time(a:b[5m:15s]) or vector(0)", ("a:b",)),
        ('label_replace(a, "x", "$1", "y", "(.+)") > bool 3e3', ("a",)),
        ("rate(a[1m] offset -1h) # b", ("a offset -1h",)),
        ("a @ end() + a @ 1700000000.5", ("a @ end()", "a @ 1700000000.5")),
        ("5000", ()),
        ("Inf", ()),
        ("a + a", ("a",)),
        ("a[5m", ("a",)),
        ("((", ()),
    ],
)
def test_selectors_are_found_in_any_expression(promql, found):
    assert selectors(promql) == found


def rows_of(*values, **parts):
    rows = [({"capper_part": "value", "n": str(n)}, value) for n, value in enumerate(values)]
    return rows + [({"capper_part": key.replace("_", "-")}, value) for key, value in parts.items()]


def test_value_age_and_series_come_from_one_answer():
    measured = Question(text="sum(a + b)").measured(rows_of(7.0, age_0=3.0, age_1=9.0, series=4))
    assert measured == (7.0, 9.0, 4)


def test_a_vector_is_never_its_first_element_and_nothing_is_never_zero():
    for rows in (rows_of(1.0, 2.0, age_0=1.0), rows_of(), rows_of(0.0), rows_of(float("nan"))):
        with pytest.raises(UnusableError):
            Question(text="a").measured(rows)


def test_samples_keep_the_time_of_their_measurement_and_the_newest_stay():
    windows = Windows()
    for turn in range(6):  # a new sample every second turn
        age_seconds = 5.0 * (turn % 2)
        windows.note("k", 100.0 + turn, age_seconds=age_seconds, now_seconds=5.0 * turn)
    samples = windows.samples("k", count=3, now_seconds=30.0)
    assert samples == ((105.0, 10.0), (103.0, 20.0), (101.0, 30.0))
    windows.forget_old(700.0)
    assert windows.samples("k", count=3, now_seconds=700.0) == ()


async def test_the_example_adapter_of_the_documentation_works(tmp_path):
    page = (DOCS / "metric-adapters.md").read_text(encoding="utf-8")
    [source] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(compile(source, "metric-adapters.md", "exec"), names)
    meter = Adapters({"csv-file": names["CsvMeter"]}).get("csv-file")
    path = tmp_path / "meter.csv"
    request = MetricRequest(configuration="a/b", domain="fleet", query=str(path), address=None)
    with pytest.raises(MetricError, match="cannot be read"):
        await meter.measure(request)
    path.write_text("1700000000,812.5\n")
    reading = await meter.measure(request)
    assert reading.watts == 812.5
    assert reading.age_seconds > 0


def test_an_adapter_that_cannot_be_loaded_says_so():
    def broken():
        return EntryPoint("bad", "nothing_of_this_name:Meter", "headrace.metric_adapters").load()()

    with pytest.raises(MetricError, match='"bad" cannot be loaded: No module named'):
        Adapters({"bad": broken}).get("bad")
    with pytest.raises(MetricError, match='no metric adapter "other" is installed'):
        Adapters().get("other")
