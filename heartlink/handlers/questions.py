"""May I, and why: one's own rights over HTTP, and asking for more (PROTOCOL 4.3, 5)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from heartlink.administration import EXPLAIN_OTHERS, MANAGE
from heartlink.errors import invalid_parameters, missing_parameters, not_found, unauthenticated, version_not_reached
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.model import UserId
from heartlink.policy import ExplanationView
from heartlink.protocol import Check, CheckResult, MenuView, PermissionView
from heartlink.protocol.permissions import CHECKS_LIMIT, Action, Resource, Scope
from heartlink.rights.checking import check_permission, check_scope
from heartlink.rights.deltas import Who
from heartlink.streams.pushes import menu_views, permission_views

REQUEST_CHARS = 500


class OwnRights(msgspec.Struct, frozen=True, kw_only=True):
    """All that one may, now; ``stream_version`` is where one's own permission stream stands."""

    version: int
    stream_version: int
    roles: list[str]
    groups: list[str]
    permissions: list[PermissionView]
    menus: list[MenuView]


class CheckOf(Check, frozen=True, kw_only=True):
    """One question; about somebody else it needs ``permissions.explain`` or ``permissions.manage``."""

    user_id: str | None = None


class ChecksBody(msgspec.Struct, frozen=True):
    """Questions, answered of one and the same version, which is ``min_version`` at least."""

    checks: Annotated[list[CheckOf], msgspec.Meta(max_length=CHECKS_LIMIT)]
    min_version: Annotated[int, msgspec.Meta(ge=0)] | None = None


class ChecksReply(msgspec.Struct, frozen=True):
    """The answers, in the order of the questions."""

    results: list[CheckResult]
    version: int


class ExplainBody(msgspec.Struct, frozen=True, kw_only=True):
    """What to explain: a permission, or an earlier decision by its id."""

    resource: Resource | None = None
    action: Action | None = None
    scope: Scope = "*"
    decision_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    user_id: str | None = None


class AccessRequestBody(msgspec.Struct, frozen=True):
    """What one asks for, where, and perhaps why."""

    permission: str
    scope: str = "*"
    message: Annotated[str, msgspec.Meta(max_length=REQUEST_CHARS)] = ""


class AccessRequestReply(msgspec.Struct, frozen=True):
    """What was asked for. Who heard of it is not told."""

    permission: str
    scope: str


class QuestionHandler(JsonHandler):
    """What the addresses of questions share."""

    @property
    def who(self) -> Who:
        """Who asks; None for whoever is not signed in."""
        return None if self.identity is None else self.identity.user.id

    def subject(self, user_id: str | None) -> Who:
        """Whom a question is about; raises the Refusal for somebody else's rights, unless one may know them."""
        if user_id is None or user_id == self.who:
            return self.who
        if self.identity is None:
            raise unauthenticated("Others' rights are not for people who are not signed in.")
        administration = self.house.administration
        if not administration.holds(self.identity, MANAGE):
            administration.need(self.identity, EXPLAIN_OTHERS)
        if UserId(user_id) not in self.house.desk.policy.users:
            raise not_found("This user", "See /api/users for those that exist.")
        return UserId(user_id)


class OwnRightsHandler(QuestionHandler):
    """What I may."""

    operations = describe(GET=Operation("My roles, groups, rights and menu entries.", response=OwnRights))

    async def get(self) -> None:
        """All of it."""
        user_id = self.need_identity().user.id
        desk = self.house.desk
        effective = desk.policy.effective(user_id)
        self.answer(
            OwnRights(
                version=desk.version,
                stream_version=desk.history.version_of(user_id),
                roles=list(effective.roles),
                groups=desk.policy.groups_of(user_id),
                permissions=permission_views(effective.entries),
                menus=menu_views(effective.menus),
            )
        )


class ChecksHandler(QuestionHandler):
    """May I?"""

    operations = describe(
        POST=Operation(
            "Whether permissions are held; those of whoever is not signed in, without a token.",
            ChecksBody,
            ChecksReply,
            errors=(403, 404, 409),
            needs_sign_in=False,
        )
    )

    async def post(self) -> None:
        """Every answer has an id, by which it can be explained."""
        body, desk = self.body(ChecksBody), self.house.desk
        if body.min_version is not None and body.min_version > desk.version:
            raise version_not_reached(body.min_version, desk.version)
        now_ms = self.house.clock()
        results: list[CheckResult] = []
        for check in body.checks:
            who = self.subject(check.user_id)
            allowed = desk.policy.rights(who).allows(check.permission, check.scope, now_ms)
            results.append(
                CheckResult(
                    resource=check.resource,
                    action=check.action,
                    scope=check.scope,
                    has_permission=allowed,
                    decision_id=desk.decisions.note(who, check.permission, check.scope, allowed=allowed),
                )
            )
        self.answer(ChecksReply(results, desk.version))


class ExplainHandler(QuestionHandler):
    """Why?"""

    operations = describe(
        POST=Operation(
            "What decided, what would be needed, and who could give it.",
            ExplainBody,
            ExplanationView,
            errors=(403, 404),
            needs_sign_in=False,
        )
    )

    async def post(self) -> None:
        """About oneself, or with the right to know about others."""
        body = self.body(ExplainBody)
        who = self.subject(body.user_id)
        explainer = self.house.explainer
        if body.decision_id is not None:
            if body.resource is not None or body.action is not None:
                raise invalid_parameters(
                    "The question names a decision and a permission.", "Send 'decision_id', or 'resource' and 'action'."
                )
            self.answer(await explainer.explain_decision(who, body.decision_id))
            return
        for name in ("resource", "action"):
            if getattr(body, name) is None:
                raise missing_parameters(name, "a body without 'decision_id'")
        self.answer(await explainer.explain(who, f"{body.resource}.{body.action}", body.scope))


class AccessRequestsHandler(QuestionHandler):
    """Please."""

    operations = describe(
        POST=Operation(
            "Ask those who can grant a permission for it; they hear of it if they are connected.",
            AccessRequestBody,
            AccessRequestReply,
            status=202,
            errors=(409,),
        )
    )

    async def post(self) -> None:
        """Ask."""
        identity, body = self.need_identity(), self.body(AccessRequestBody)
        check_permission(body.permission, "permission")
        check_scope(body.scope)
        self.house.notices.request_access(identity, body.permission, body.scope, body.message)
        self.answer(AccessRequestReply(body.permission, body.scope), 202)


QUESTION_ROUTES = [
    (r"/api/permissions/me", OwnRightsHandler, "my rights"),
    (r"/api/permissions/check", ChecksHandler, "may I?"),
    (r"/api/permissions/explain", ExplainHandler, "why?"),
    (r"/api/access-requests", AccessRequestsHandler, "ask for access"),
]
