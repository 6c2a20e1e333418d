"""Workloads of a Kubernetes cluster: KEDA, KServe, autoscalers and plain Deployments.

Each write touches the bound and, in the same call, the annotation that keeps its first value.
Server-side apply gives a field one owner. Where another manager applies the same field (GitOps,
an operator), the write is refused and reported; where it was only ever set by an update (kubectl
create, edit or the client-side apply), it is taken over. See docs/decisions/0015.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from capper.actuators.bounds import Bound, bounds_of, present, split, values_of
from capper.actuators.eviction import victim
from capper.actuators.reading import ORIGINAL, PAUSE, Reader, is_ours, kept_of
from capper.actuators.resolution import Resolution, Resolver
from capper.actuators.workloads import Trouble, Workload, WorkloadError
from capper.kube.api import FIELD_MANAGER, FieldConflictError, KubeApi, KubeError, NotFoundError
from capper.kube.kinds import (
    KINDS,
    LLM_INFERENCE_SERVICE,
    SCALED_OBJECT,
    KubeObject,
    Path,
    at,
    managers,
    merged,
    placed,
)

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")
_Method = Callable[Concatenate["KubernetesWorkloads", _Args], Coroutine[Any, Any, _Result]]


def _told(method: _Method[_Args, _Result]) -> _Method[_Args, _Result]:
    """The API's errors as those of Workloads."""

    async def call(
        self: "KubernetesWorkloads", /, *args: _Args.args, **more: _Args.kwargs
    ) -> _Result:
        try:
            return await method(self, *args, **more)
        except NotFoundError as error:
            raise WorkloadError(Trouble.GONE, str(error)) from error
        except FieldConflictError as error:
            raise WorkloadError(Trouble.CONFLICT, str(error)) from error
        except KubeError as error:
            refused = error.code is not None and error.code < 500  # noqa: PLR2004 - HTTP's classes
            trouble = Trouble.UNSUPPORTED if refused else Trouble.UNAVAILABLE
            raise WorkloadError(trouble, str(error)) from error

    return call


class KubernetesWorkloads:
    """Implements capper.actuators.workloads.Workloads."""

    def __init__(self, api: KubeApi) -> None:
        """Act through `api`."""
        self._api = api
        self._resolver = Resolver(api)
        self._reader = Reader(api)

    @_told
    async def read(self, ref: str) -> Workload:
        """See Workloads."""
        return await self._reader.workload(await self._resolver.resolve(ref))

    @_told
    async def select(self, kind: str, namespace: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """See Workloads."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        found = await self._api.find(KINDS[kind], namespace, labels=selector)
        return tuple(sorted(f"{kind}/{namespace}/{obj['metadata']['name']}" for obj in found))

    @_told
    async def set_max_replicas(
        self, ref: str, replicas: int, *, original: str | None = None, take_ownership: bool = False
    ) -> None:
        """See Workloads."""
        found = await self._resolver.resolve(ref)
        bounds = bounds_of(found.kind, found.obj)
        kept = kept_of(found, bounds)
        kept = original if kept is None else kept
        before = values_of(kept or present(bounds), len(bounds))
        fields = merged(
            *(
                placed(bound.path, value)
                for bound, value in zip(
                    bounds, await self._dealt(found, replicas, before), strict=True
                )
            )
        )
        trace = placed(ORIGINAL, kept or present(bounds))
        if found.is_silent:
            _not_contested(found, bounds, take_ownership=take_ownership)
            await self._update(found, fields)
        elif found.is_plain:
            await self._apply(found, trace)
            await self._scale(found, at(fields, bounds[0].path))
        elif any(at(found.obj, bound.path) != at(fields, bound.path) for bound in bounds) or (
            at(found.obj, ORIGINAL) != at(trace, ORIGINAL)
        ):
            await self._apply(found, fields, trace, force=take_ownership)

    @_told
    async def restore_max_replicas(self, ref: str, original: str | None = None) -> None:
        """See Workloads."""
        found = await self._resolver.resolve(ref)
        bounds = bounds_of(found.kind, found.obj)
        if found.is_silent:
            if original is not None:
                await self._put_back(found, bounds, original)
            return
        kept = at(found.obj, ORIGINAL)
        ours = is_ours(found, bounds)
        if kept is None and not ours:
            return
        paths = [] if found.is_plain else [bound.path for bound in bounds]
        text = kept if kept is not None else original
        if ours and text is not None:
            values = values_of(text, len(bounds))
            if found.is_plain:
                await self._scale(found, values[0])
            elif known := [
                placed(bound.path, value)
                for bound, value in zip(bounds, values, strict=True)
                if value is not None
            ]:
                # An update, so that the field outlives our letting go of it.
                await self._api.merge(found.kind, found.namespace, found.name, merged(*known))
        await self._apply(found, let_go=(ORIGINAL, *paths))

    @_told
    async def pause_scale_out(self, ref: str) -> None:
        """See Workloads."""
        found = await self._resolver.resolve(ref)
        _pausable(found)
        if at(found.obj, PAUSE) != "true":
            await self._apply(found, placed(PAUSE, "true"))

    @_told
    async def resume_scale_out(self, ref: str) -> None:
        """See Workloads."""
        found = await self._resolver.resolve(ref)
        _pausable(found)
        if _applied_by_us(found.obj, PAUSE):
            await self._apply(found, let_go=(PAUSE,))

    @_told
    async def evict_replica(self, ref: str, *, floor: int) -> None:
        """See Workloads."""
        found = await self._resolver.resolve(ref)
        pod = victim(await self._reader.pods(found), floor=floor)
        if pod is None:
            raise WorkloadError(
                Trouble.UNSUPPORTED,
                f"{found.written}: no replica may be evicted: {floor} ready ones have to stay.",
            )
        await self._api.evict(found.namespace, pod)

    async def _dealt(
        self, found: Resolution, replicas: int, before: list[int | None]
    ) -> list[int | None]:
        """The bound by field. A count follows the bound, never above what it was before."""
        bounds = bounds_of(found.kind, found.obj)
        if len(bounds) == 1:
            shares = [replicas]
        else:
            current = await self._reader.current(found)
            tops = [
                bound if first is None else replace(bound, maximum=first)
                for bound, first in zip(bounds, before, strict=True)
            ]
            shares = split(replicas, tops, current)
        return [
            min(share, first) if bound.is_count and first is not None else share
            for bound, share, first in zip(bounds, shares, before, strict=True)
        ]

    async def _apply(
        self,
        found: Resolution,
        *fields: KubeObject,
        let_go: tuple[Path, ...] = (),
        force: bool = False,
    ) -> None:
        """Apply what is ours already, less what is let go, and these fields."""
        bounds = bounds_of(found.kind, found.obj)
        known = [ORIGINAL, PAUSE, *([] if found.is_plain else [bound.path for bound in bounds])]
        kept = [
            placed(path, at(found.obj, path))
            for path in known
            if path not in let_go and _applied_by_us(found.obj, path)
        ]
        wanted = merged(*kept, *fields)
        paths = [path for path in known if at(wanted, path) is not None]
        try:
            await self._api.apply(
                found.kind,
                found.namespace,
                found.name,
                wanted,
                force=force or not _appliers(found.obj, paths),
            )
        except FieldConflictError as error:
            others = ", ".join(sorted(_appliers(found.obj, paths))) or "another manager"
            raise _conflict(found, others) from error

    async def _put_back(self, found: Resolution, bounds: Sequence[Bound], original: str) -> None:
        """The values before; a bound that must be there and had none that fits stays as it is."""
        must = found.kind is LLM_INFERENCE_SERVICE
        pairs = zip(bounds, values_of(original, len(bounds)), strict=True)
        values = [
            was if was is not None or bound.is_count or not must else bound.value
            for bound, was in pairs
        ]
        fields = [placed(one.path, was) for one, was in zip(bounds, values, strict=True)]
        await self._update(found, merged(*fields))

    async def _update(self, found: Resolution, fields: KubeObject) -> None:
        """Set single fields of a kind whose spec may be atomic for server-side apply.

        KServe's minimal CRDs have such specs: to apply one field of them would remove all others.
        """
        paths = [bound.path for bound in bounds_of(found.kind, found.obj)]
        if any(at(found.obj, path) != at(fields, path) for path in paths):
            await self._api.merge(found.kind, found.namespace, found.name, fields)

    async def _scale(self, found: Resolution, replicas: int | None) -> None:
        """The number of replicas of what nothing scales."""
        field = placed(("spec", "replicas"), replicas)
        if replicas is not None and at(found.obj, ("spec", "replicas")) != replicas:
            await self._api.merge(found.kind, found.namespace, found.name, field, part="scale")


def _pausable(found: Resolution) -> None:
    if found.kind is not SCALED_OBJECT:
        raise WorkloadError(
            Trouble.UNSUPPORTED, f"{found.written}: only a ScaledObject's growth can be paused."
        )


def _applied_by_us(obj: KubeObject, path: Path) -> bool:
    return (FIELD_MANAGER, "Apply") in managers(obj, path)


def _not_contested(found: Resolution, bounds: Sequence[Bound], *, take_ownership: bool) -> None:
    """An update asks nobody; so it is asked here who applies these fields."""
    others = ", ".join(sorted(_appliers(found.obj, [bound.path for bound in bounds])))
    if others and not take_ownership:
        raise _conflict(found, others)


def _conflict(found: Resolution, others: str) -> WorkloadError:
    return WorkloadError(
        Trouble.CONFLICT,
        f"{found.written}: {others} applies the same field; leave it out there, use the"
        " external scaler, or set replicaBounds.takeOwnership.",
    )


def _appliers(obj: KubeObject, paths: list[Path]) -> set[str]:
    """Other managers that apply one of the fields, and so will put it back."""
    return {
        name
        for path in paths
        for name, operation in managers(obj, path)
        if operation == "Apply" and name != FIELD_MANAGER
    }
