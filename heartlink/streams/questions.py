"""May I, and why: the questions that the permission stream answers (PROTOCOL 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from heartlink.errors import (
    Refusal,
    StoreFault,
    invalid_parameters,
    missing_parameters,
    not_found,
    store_unavailable,
    version_not_reached,
)
from heartlink.hub import frame_of
from heartlink.policy import Desk, Explainer
from heartlink.protocol import (
    Check,
    CheckResult,
    Explain,
    Explanation,
    PermissionCheck,
    PermissionCheckBatch,
    PermissionCheckBatchResponse,
    PermissionCheckResponse,
    error_frame,
    iso,
)
from heartlink.rights import EVERYWHERE
from heartlink.rights.deltas import Who
from heartlink.streams.peer import StreamPeer

EXPLAIN: Final = "permissions.explain"
"""What one must hold to have decisions about others explained."""


class Questions:
    """Answers what the stream's user may do, each answer under an id by which it can be explained."""

    def __init__(
        self,
        desk: Desk,
        explainer: Explainer,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._desk = desk
        self._explainer = explainer
        self._clock = clock
        self._spawn = spawn

    def check(self, peer: StreamPeer, command: PermissionCheck) -> PermissionCheckResponse:
        """Whether the user holds a permission."""
        self._need_version(command.min_version)
        allowed, decision_id = self._decide(peer.who, f"{command.resource}.{command.action}", command.scope)
        return PermissionCheckResponse(
            request_id=command.request_id,
            resource=command.resource,
            action=command.action,
            scope=command.scope,
            has_permission=allowed,
            version=self._desk.version,
            decision_id=decision_id,
            timestamp=iso(self._clock()),
            ref=command.ref,
        )

    def check_all(self, peer: StreamPeer, command: PermissionCheckBatch) -> PermissionCheckBatchResponse:
        """The same for many permissions, all answered of one version."""
        self._need_version(command.min_version)
        return PermissionCheckBatchResponse(
            request_id=command.request_id,
            results=[self._result(peer.who, check) for check in command.checks],
            version=self._desk.version,
            timestamp=iso(self._clock()),
            ref=command.ref,
        )

    def _result(self, who: Who, check: Check) -> CheckResult:
        allowed, decision_id = self._decide(who, check.permission, check.scope)
        return CheckResult(
            resource=check.resource,
            action=check.action,
            scope=check.scope,
            has_permission=allowed,
            decision_id=decision_id,
        )

    def _decide(self, who: Who, permission: str, scope: str) -> tuple[bool, str]:
        allowed = self._desk.policy.rights(who).allows(permission, scope, self._clock())
        return allowed, self._desk.decisions.note(who, permission, scope, allowed=allowed)

    def _need_version(self, version: int | None) -> None:
        if version is not None and version > self._desk.version:
            raise version_not_reached(version, self._desk.version)

    # Why

    def explain(self, peer: StreamPeer, command: Explain) -> None:
        """Why: answered as soon as the names of those who could give it are at hand."""
        if peer.watches and not self._desk.policy.rights(peer.user_id).allows(EXPLAIN, EVERYWHERE, self._clock()):
            raise self._desk.decisions.deny(peer.user_id, EXPLAIN, EVERYWHERE)
        self._spawn(self._explain(peer, command, *self._subject_matter(peer.who, command)))

    def _subject_matter(self, who: Who, command: Explain) -> tuple[str, str]:
        """Permission and scope that a question is about."""
        if command.decision_id is not None:
            if command.resource is not None or command.action is not None:
                raise invalid_parameters(
                    "The question names a decision and a permission.", "Send 'decision_id', or 'resource' and 'action'."
                )
            decision = self._desk.decisions.find(who, command.decision_id)
            if decision is None:
                raise not_found("This decision", "Ask about the permission itself: only late decisions are remembered.")
            return decision.permission, decision.scope
        for name in ("resource", "action"):
            if getattr(command, name) is None:
                raise missing_parameters(name, "'explain' without 'decision_id'")
        return f"{command.resource}.{command.action}", command.scope

    async def _explain(self, peer: StreamPeer, command: Explain, permission: str, scope: str) -> None:
        try:
            if command.decision_id is None:
                reasons = await self._explainer.explain(peer.who, permission, scope)
            else:
                reasons = await self._explainer.explain_decision(peer.who, command.decision_id)
        except (Refusal, StoreFault) as error:
            refusal = error if isinstance(error, Refusal) else store_unavailable()
            answer = error_frame(refusal, self._clock(), command.ref, request_id=command.request_id)
            peer.connection.push(frame_of(answer))
            return
        resource, _, action = permission.partition(".")
        explanation = Explanation(
            request_id=command.request_id,
            allowed=reasons.allowed,
            resource=resource,
            action=action,
            scope=scope,
            because=reasons.because,
            needs=reasons.needs,
            who_can_grant=reasons.who_can_grant,
            version=reasons.version,
            decision_id=command.decision_id,
            decided=reasons.decided,
            ref=command.ref,
        )
        peer.connection.push(frame_of(explanation))
