"""The gate, and what is written on pods: names shared by webhook, placer and sweeper. Pure."""

from capper.api import GROUP
from capper.kube.kinds import Kind

GATE = f"{GROUP}/rack"
"""Scheduling gate of a pod that waits for its rack."""

OPT_IN_LABEL = f"{GROUP}/rack-placement"
"""On a namespace, with the value `enabled`: its pods may be gated. On a pod, `disabled`: not it."""

RACK_LABEL = f"{GROUP}/placed-rack"
"""On a pod: the rack that was chosen for it."""

RESERVED_WATTS = f"{GROUP}/reserved-watts"
"""Annotation: what is set aside in that rack until the pod draws it."""

RESERVED_UNTIL = f"{GROUP}/reserved-until"
"""Annotation: when the reservation ends in any case, epoch seconds."""

DECLARED_WATTS = f"{GROUP}/watts"
"""Annotation that the user may give a pod: what it will draw."""

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation of Kubernetes: the ReplicaSet deletes pods of lower cost first."""

COST_BEFORE = f"{GROUP}/deletion-cost-before"
"""Annotation: the cost before ours, empty for none; whoever has it has our cost."""

AFFINITY_BEFORE = f"{GROUP}/affinity-before"
"""Annotation of a Deployment in mode DeploymentAffinity: its node affinity before, as JSON."""

AFFINITY_SET = f"{GROUP}/affinity-set"
"""Annotation of a Deployment in mode DeploymentAffinity: rack and epoch seconds of the change."""

POD = Kind(name="Pod", api_version="v1", plural="pods")
