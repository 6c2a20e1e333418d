"""All recording rules, in the order in which they are evaluated."""

from capper.observe.rules.boards import BOARDS
from capper.observe.rules.racks import RACKS
from capper.observe.rules.rule import Recording
from capper.observe.rules.workloads import WORKLOADS

RECORDINGS: tuple[Recording, ...] = (*BOARDS, *RACKS, *WORKLOADS)
GROUP = "headrace-capper"
