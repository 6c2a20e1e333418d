"""A request in numbers, as the traffic of its model makes expect. Pure."""

from router.decide.demand import Demand
from router.decide.request_facts import Api, RequestFacts
from router.decide.workload import Present


def demand_of(
    facts: RequestFacts,
    present: Present,
    avoided: frozenset[str],
    refused: frozenset[str],
    stalled: frozenset[str],
) -> Demand:
    """The request, before anybody has looked at what is near.

    Args:
        facts: What is known of it.
        present: The model's means.
        avoided: Addresses to leave out while others can serve.
        refused: Addresses whose power domain takes no such request.
        stalled: Addresses that take requests and end none.
    """
    hints, known_tokens = facts.hints, facts.prompt_tokens
    if known_tokens is None:
        prompt_tokens = facts.prompt_bytes / present.bytes_per_token
    else:
        prompt_tokens = float(known_tokens)
    return Demand(  # by position: names cost this one as much again
        facts.model,
        prompt_tokens,
        expected_output_tokens(facts, present.mix.output_tokens),
        present.mix,
        hints.ttft_seconds,
        hints.tpot_seconds,
        hints.priority < 0,
        hints.subset,
        avoided,
        refused,
        stalled,
        facts.prefix_block_hashes,
    )


def expected_output_tokens(facts: RequestFacts, mean_tokens: float) -> float:
    """Tokens a request will probably write, over all the choices it asks for."""
    limit = facts.max_output_tokens
    if limit is None:
        return 0.0 if facts.api is Api.EMBEDDINGS else facts.choices * mean_tokens
    if facts.api is Api.EMBEDDINGS:
        return 0.0
    if facts.ignore_eos:
        return float(limit * facts.choices)
    return facts.choices * min(mean_tokens, float(limit))
