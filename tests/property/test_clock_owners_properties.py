"""No board is ever set that somebody else uses, unless it was declared."""

from hypothesis import given
from hypothesis import strategies as st

from capper.clocks.board import Setting
from capper.clocks.owners import OwnerClaim, by_board

UUIDS = st.sampled_from([f"GPU-{number}" for number in range(4)])
OWNERS = st.sampled_from([f"llm/pod-{number}" for number in range(6)])
CLAIMS = st.builds(
    OwnerClaim,
    owner=OWNERS,
    workload=st.sampled_from(["chat", "batch"]),
    uuids=st.lists(UUIDS, max_size=2).map(tuple),
    setting=st.builds(
        Setting,
        max_hertz=st.none() | st.floats(1e8, 2e9),
        limit_watts=st.none() | st.floats(100.0, 700.0),
    ),
)


@given(
    claims=st.lists(CLAIMS, max_size=6),
    ownership=st.dictionaries(UUIDS, st.frozensets(OWNERS, max_size=4)),
    boards=st.frozensets(UUIDS),
    declared=st.frozensets(UUIDS),
)
def test_only_boards_of_the_claims_own_workload_or_declared_ones(
    claims, ownership, boards, declared
):
    wishes, refused = by_board(claims, ownership, boards, declared=declared)
    members = {
        name: {one.owner for one in claims if one.workload == name} for name in ("chat", "batch")
    }
    for uuid, wish in wishes.items():
        strangers = ownership.get(uuid, frozenset()) - members[wish.workload]
        assert uuid in declared or not strangers
        assert uuid in boards or uuid in ownership
        asked = [one for one in claims if one.owner in wish.owners]
        assert asked
        for one in asked:
            mine = uuid in one.uuids or (
                uuid not in one.uuids and one.owner in ownership.get(uuid, ())
            )
            if mine and not (one.uuids and uuid not in one.uuids):
                lower = one.setting.tightened(wish.setting)
                assert lower == wish.setting
    assert not wishes.keys() & {answer.uuid for _, answer in refused}
    assert {owner for owner, _ in refused} <= {one.owner for one in claims}
