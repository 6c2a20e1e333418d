"""Role-based access as the RBAC authorizer of the API server has it."""


def allowed(store, user, groups, *, verb, group, resource, namespace, name):
    """Whether any bound rule covers the request."""
    if "system:masters" in groups:
        return True
    asked = {"verb": verb, "group": group, "resource": resource, "name": name}
    for binding in store.objects("clusterrolebindings.rbac.authorization.k8s.io"):
        if _binds(binding, user, groups) and _covers(store, binding, None, asked):
            return True
    return namespace is not None and any(
        binding["metadata"]["namespace"] == namespace
        and _binds(binding, user, groups)
        and _covers(store, binding, namespace, asked)
        for binding in store.objects("rolebindings.rbac.authorization.k8s.io")
    )


def _binds(binding, user, groups):
    return any(
        (subject["kind"] == "User" and subject["name"] == user)
        or (subject["kind"] == "Group" and subject["name"] in groups)
        or (
            subject["kind"] == "ServiceAccount"
            and user == f"system:serviceaccount:{subject.get('namespace')}:{subject['name']}"
        )
        for subject in binding.get("subjects", ())
    )


def _covers(store, binding, namespace, asked):
    reference = binding["roleRef"]
    if reference["kind"] == "ClusterRole":
        role = store.find("clusterroles.rbac.authorization.k8s.io", None, reference["name"])
    else:
        role = store.find("roles.rbac.authorization.k8s.io", namespace, reference["name"])
    return role is not None and any(_rule(rule, asked) for rule in role.get("rules") or ())


def _rule(rule, asked):
    plural, _, sub = asked["resource"].partition("/")
    names = rule.get("resourceNames")
    resources = {asked["resource"], "*", *([f"*/{sub}"] if sub else [])}
    return (
        bool({asked["verb"], "*"} & set(rule.get("verbs", ())))
        and bool({asked["group"], "*"} & set(rule.get("apiGroups", ())))
        and bool(resources & set(rule.get("resources", ())))
        and (not names or asked["name"] in names)
        and bool(plural)
    )
