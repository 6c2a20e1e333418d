import pytest
from traffic_statistics import azure_trace, excess_variance, gaps, mean

from loadtest.arrivals import Arrival, assign_models, azure_like
from loadtest.outcome import nearest_rank
from loadtest.traces.modifiers import mean_requests_per_second

SEEDS = range(5)

THREE = [Arrival(0.0, 100, 10, "a"), Arrival(1.0, 200, 20, "a"), Arrival(4.0, 300, 30, "a")]


@pytest.fixture(scope="module")
def conv():
    return azure_trace("conv")


@pytest.fixture(scope="module")
def drawn(conv):
    rate = mean_requests_per_second(conv)
    return [
        azure_like(len(conv), requests_per_second=rate, seed=seed, models={"m": 1})
        for seed in SEEDS
    ]


def even_gaps(arrivals):
    """Gaps over their mean."""
    spaced = gaps(arrivals)
    centre = mean(spaced)
    return [gap / centre for gap in spaced]


@pytest.mark.parametrize("percent", [10, 25, 50, 75, 90, 99])
@pytest.mark.parametrize("field", ["prompt_tokens", "output_tokens"])
def test_drawn_lengths_have_the_quantiles_of_the_trace(conv, drawn, field, percent):
    real = nearest_rank(sorted(getattr(a, field) for a in conv), percent=percent)
    fitted = nearest_rank(sorted(getattr(a, field) for d in drawn for a in d), percent=percent)
    assert fitted == pytest.approx(real, rel=0.06)


@pytest.mark.parametrize("field", ["prompt_tokens", "output_tokens"])
def test_drawn_lengths_have_the_mean_of_the_trace(conv, drawn, field):
    fitted = mean([getattr(a, field) for d in drawn for a in d])
    assert fitted == pytest.approx(mean([getattr(a, field) for a in conv]), rel=0.025)


@pytest.mark.parametrize(
    ("shortest", "longest"), [(0, 195), (216, 375), (600, 960), (960, 1165), (2500, 20000)]
)
def test_drawn_answers_depend_on_the_prompt_as_in_the_trace(conv, drawn, shortest, longest):
    def answers(arrivals):
        return [a.output_tokens for a in arrivals if shortest < a.prompt_tokens <= longest]

    fitted = answers([a for d in drawn for a in d])
    assert mean(fitted) == pytest.approx(mean(answers(conv)), rel=0.1)


@pytest.mark.parametrize("percent", [25, 50, 75, 90, 99])
def test_drawn_gaps_have_the_quantiles_of_the_trace(conv, drawn, percent):
    fitted = mean([nearest_rank(sorted(even_gaps(d)), percent=percent) for d in drawn])
    assert fitted == pytest.approx(nearest_rank(sorted(even_gaps(conv)), percent=percent), rel=0.06)


def test_drawn_counts_are_as_bursty_as_those_of_the_trace(conv):
    # One hour holds few swings of 15 minutes: the mean of many hours, and a wide margin.
    rate = mean_requests_per_second(conv)
    hours = [
        azure_like(len(conv), requests_per_second=rate, seed=seed, models={"m": 1})
        for seed in range(20)
    ]
    for window_seconds in (1, 10, 60):
        fitted = mean([excess_variance(hour, window_seconds=window_seconds) for hour in hours])
        real = excess_variance(conv, window_seconds=window_seconds)
        assert fitted == pytest.approx(real, rel=0.35), window_seconds


def test_a_single_arrival_is_due_at_once():
    (only,) = azure_like(1, requests_per_second=2.0, seed=0, models={"m": 1})
    assert only.at_seconds == 0.0


def test_another_seed_draws_other_traffic_of_the_same_mean_rate():
    one, other = (azure_like(50, requests_per_second=20, seed=s, models={"m": 1}) for s in (1, 2))
    assert one != other
    assert one[-1].at_seconds == pytest.approx(other[-1].at_seconds) == pytest.approx(49 / 20)


def test_models_are_drawn_by_their_weights():
    drawn = azure_like(4000, requests_per_second=1, seed=3, models={"big": 3, "small": 1, "no": 0})
    shares = {name: sum(a.model == name for a in drawn) / 4000 for name in ("big", "small", "no")}
    assert shares["big"] == pytest.approx(0.75, abs=0.03)
    assert shares["small"] == pytest.approx(1 - shares["big"])
    assert shares["no"] == 0


@pytest.mark.parametrize(
    "models", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("nan")}, {"a": float("inf")}]
)
def test_weights_that_mean_nothing_are_refused(models):
    with pytest.raises(ValueError, match="model weights are"):
        assign_models(THREE, models=models, seed=0)


def test_no_arrivals_take_any_models():
    assert list(assign_models([], models={"a": 1}, seed=0)) == []


@pytest.mark.parametrize(
    ("count", "rate", "message"),
    [(0, 1.0, "count is 0"), (5, 0.0, "requests_per_second is 0"), (5, float("nan"), "is nan")],
)
def test_traffic_that_cannot_be_is_refused(count, rate, message):
    with pytest.raises(ValueError, match=message):
        azure_like(count, requests_per_second=rate, seed=0, models={"m": 1})
