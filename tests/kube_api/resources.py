"""Which resources there are: the built-in ones that tests need, and those of installed CRDs."""

from dataclasses import dataclass, field

from kube_api import schema

_STATUS, _SCALE = ("status",), ("status", "scale")
_BUILT_IN = """
v1 namespaces Namespace - status
v1 nodes Node - status
v1 pods Pod ns status
v1 services Service ns status
v1 endpoints Endpoints ns
v1 events Event ns
v1 configmaps ConfigMap ns
v1 secrets Secret ns
v1 serviceaccounts ServiceAccount ns
events.k8s.io/v1 events Event ns
apps/v1 deployments Deployment ns status,scale
apps/v1 replicasets ReplicaSet ns status,scale
apps/v1 statefulsets StatefulSet ns status,scale
autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler ns status
policy/v1 poddisruptionbudgets PodDisruptionBudget ns status
discovery.k8s.io/v1 endpointslices EndpointSlice ns
networking.k8s.io/v1 networkpolicies NetworkPolicy ns
coordination.k8s.io/v1 leases Lease ns
rbac.authorization.k8s.io/v1 roles Role ns
rbac.authorization.k8s.io/v1 rolebindings RoleBinding ns
rbac.authorization.k8s.io/v1 clusterroles ClusterRole -
rbac.authorization.k8s.io/v1 clusterrolebindings ClusterRoleBinding -
apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition - status
admissionregistration.k8s.io/v1 mutatingwebhookconfigurations MutatingWebhookConfiguration -
admissionregistration.k8s.io/v1 validatingwebhookconfigurations ValidatingWebhookConfiguration -
"""


@dataclass(frozen=True)
class Resource:
    """One version of one kind."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    subresources: tuple[str, ...] = ()
    schema: dict | None = None
    list_keys: dict = field(default_factory=dict)
    scale_paths: tuple[str, str, str] = (".spec.replicas", ".status.replicas", "")
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self):
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self):
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def store_key(self):
        """All versions of a kind share their objects."""
        return "events" if self.plural == "events" else self.qualified


def built_in():
    """Resources of every API server."""
    found = []
    for line in _BUILT_IN.split("\n"):
        if line:
            api_version, plural, kind, scope, *more = line.split()
            group, _, version = api_version.rpartition("/")
            subresources = tuple(more[0].split(",")) if more else ()
            found.append(Resource(group, version, plural, kind, scope == "ns", subresources))
    return found


def of_crd(crd):
    """The served versions of a CustomResourceDefinition."""
    spec, names = crd["spec"], crd["spec"]["names"]
    found = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = version.get("subresources", {})
        scale = subresources.get("scale", {})
        root = version.get("schema", {}).get("openAPIV3Schema", {})
        found.append(
            Resource(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                spec["scope"] == "Namespaced",
                tuple(sorted(subresources)),
                root,
                schema.list_keys(root),
                (
                    scale.get("specReplicasPath", ""),
                    scale.get("statusReplicasPath", ""),
                    scale.get("labelSelectorPath", ""),
                ),
                tuple(names.get("shortNames", ())),
            )
        )
    return found


def discovery(resources, group, version):
    """The APIResourceList of a group's version."""
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    listed = []
    for resource in resources:
        if (resource.group, resource.version) != (group, version):
            continue
        entry = {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": verbs,
            "shortNames": list(resource.short_names),
        }
        listed.append(entry)
        listed += [
            {**entry, "name": f"{resource.plural}/{sub}", "verbs": ["get", "patch", "update"]}
            for sub in resource.subresources
        ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": listed,
    }
