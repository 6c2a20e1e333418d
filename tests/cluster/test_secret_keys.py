"""Keys out of Secrets: what is read, what is said when there is none, and with which right."""

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grid_harness import secret
from kubernetes.aio.client import ApiClient
from kustomize_subset import _into_namespace, documents
from telemetry_harness import ManualClock

from capper.kube.api import KubeApi, KubeError
from capper.kube.secrets import SECRET, ClusterSecrets
from capper.secret_keys import SecretError
from telemetry.kubernetes.client import load_configuration

ROLE = Path(__file__).resolve().parents[2] / "k8s/components/secret-keys/role.yaml"


@asynccontextmanager
async def reading(path, clock):
    async with ApiClient(await load_configuration(str(path))) as client:
        api = KubeApi(client)
        yield ClusterSecrets(api, clock), api


async def refused(secrets, namespace, name, key="token"):
    with pytest.raises(SecretError) as caught:
        await secrets.read(namespace, name, key)
    return str(caught.value)


async def test_a_key_is_read_and_a_new_one_half_a_minute_later(kube, namespace, kubeconfig, door):
    clock = ManualClock()
    await kube.create(secret(namespace, "grid", token=" one\n", broken="a\nb", empty=" "))
    async with reading(kubeconfig(), clock) as (secrets, _):
        assert await secrets.read(namespace, "grid", "token") == "one"
        assert await refused(secrets, namespace, "grid", "no") == "Secret grid has no key no."
        assert "characters that no header can carry" in await refused(
            secrets, namespace, "grid", "broken"
        )
        assert "it is empty" in await refused(secrets, namespace, "grid", "empty")
        assert await refused(secrets, namespace, "none") == "Secret none is not there."
        data = secret(namespace, "grid", token="two")["data"]
        await kube.merge("v1", "Secret", namespace, "grid", {"data": data})
        clock.advance(29.0)
        assert await secrets.read(namespace, "grid", "token") == "one"
        clock.advance(1.0)
        assert await secrets.read(namespace, "grid", "token") == "two"
        await door.shut()
        clock.advance(60.0)
        assert await secrets.read(namespace, "grid", "token") == "two", "the last answer counts"
        assert "the API server does not answer" in await refused(secrets, namespace, "other")


async def test_a_value_that_is_no_text_is_refused_without_being_shown(kube, namespace, kubeconfig):
    body = secret(namespace, "grid")
    body["data"] = {"token": "//79"}  # bytes that are no UTF-8
    await kube.create(body)
    async with reading(kubeconfig(), ManualClock()) as (secrets, _):
        said = await refused(secrets, namespace, "grid")
    assert said == "Secret grid, key token: it is not UTF-8 text."


@pytest.mark.usefixtures("needs_real_api_server")
async def test_the_shipped_role_reads_its_two_secrets_and_no_other(kube, namespace, kubeconfig):
    token = await kube.create_user([])
    user = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "User",
        "name": token.replace("token", "user"),
    }
    found = {(obj["kind"], obj["metadata"]["name"]): obj for obj in documents(ROLE)}
    for obj in _into_namespace(found, namespace).values():
        subjects = {"subjects": [user]} if "subjects" in obj else {}
        await kube.apply({**obj, **subjects}, manager="kubectl", force=True)
    for name in ("headrace-carbon", "headrace-cooling", "database"):
        await kube.create(secret(namespace, name, token=f"key-of-{name}"))
    async with reading(kubeconfig(token), ManualClock()) as (secrets, api):
        for name in ("headrace-carbon", "headrace-cooling"):
            assert await secrets.read(namespace, name, "token") == f"key-of-{name}"
        assert "may not be read: allow `get` of it" in await refused(secrets, namespace, "database")
        with pytest.raises(KubeError) as caught:
            await api.find(SECRET, namespace)
        assert caught.value.code == 403
