"""What administrators see and send: previews, audit and undo, accounts, notifications (PROTOCOL 5)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from heartlink.administration import AUDIT_LIMIT, CHANGES_LIMIT, NOTIFY, Body, WantedChange
from heartlink.administration.notices import Priority
from heartlink.administration.previews import PreviewReply
from heartlink.administration.views import AuditEntry, PersonView
from heartlink.errors import not_found
from heartlink.handlers.base import Operation, describe
from heartlink.handlers.policy import CHANGE_ERRORS, PolicyHandler
from heartlink.protocol import MAX_INTEGER

LISTED_PEOPLE = 200
LISTED_PEOPLE_BY_DEFAULT = 50
AUDIT_BY_DEFAULT = 50
MESSAGE_CHARS = 2000
RECEIVERS_LIMIT = 10_000
KEYS_LIMIT = 1000

Receivers = Annotated[list[str], msgspec.Meta(max_length=RECEIVERS_LIMIT)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class AuditReply(msgspec.Struct, frozen=True):
    """Versions of the policy, newest first."""

    entries: list[AuditEntry]
    has_more: bool
    version: int


class PeopleReply(msgspec.Struct, frozen=True):
    """Accounts by name, with their roles."""

    users: list[PersonView]
    has_more: bool
    version: int


class PreviewBody(msgspec.Struct, frozen=True):
    """The calls whose effect is asked for, in the order in which they would be made."""

    changes: Annotated[list[WantedChange], msgspec.Meta(min_length=1, max_length=CHANGES_LIMIT)]


class NotificationBody(msgspec.Struct, frozen=True):
    """What to say, and to whom, by id; without ``users`` everybody hears it, who is not signed in too."""

    message: Annotated[str, msgspec.Meta(max_length=MESSAGE_CHARS)]
    priority: Priority = "normal"
    type: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]{1,64}$")] = "info"
    users: Receivers | None = None


class InvalidationBody(msgspec.Struct, frozen=True):
    """What clients shall fetch anew, and whose, by id; without ``users`` everybody's."""

    keys: Annotated[list[Key], msgspec.Meta(min_length=1, max_length=KEYS_LIMIT)]
    users: Receivers | None = None


class SentReply(msgspec.Struct, frozen=True):
    """To how many open streams it went; nothing is kept for those who are away."""

    sent_to: int


class PreviewHandler(PolicyHandler):
    """What changes would mean."""

    operations = describe(
        POST=Operation(
            "Who would gain and lose what by these calls, made one after the other; nothing is changed.",
            PreviewBody,
            PreviewReply,
            errors=CHANGE_ERRORS,
        )
    )

    async def post(self) -> None:
        """Exactly those whose rights would change."""
        identity = self.need_identity()
        self.house.administration.need(identity)
        self.answer(await self.house.administration.preview(identity, self.body(PreviewBody).changes))


class AuditHandler(PolicyHandler):
    """What was changed, by whom, when and why."""

    operations = describe(
        GET=Operation(
            "Versions of the policy, newest first.",
            response=AuditReply,
            query={
                "before": "a version; only earlier ones are listed",
                "limit": f"1 to {AUDIT_LIMIT}, {AUDIT_BY_DEFAULT} if left out",
            },
            errors=(403,),
        )
    )

    async def get(self) -> None:
        """A page of them."""
        identity = self.need_identity()
        self.house.administration.need(identity)
        before = self.query_integer("before", None, 1, MAX_INTEGER)
        limit = self.query_integer("limit", None, 1, AUDIT_LIMIT) or AUDIT_BY_DEFAULT
        entries, has_more = await self.house.administration.audit(identity, before, limit)
        self.answer(AuditReply(entries, has_more, self.version))


class UndoHandler(PolicyHandler):
    """The way back."""

    operations = describe(
        POST=Operation(
            "Take a version back, by a new one that makes the inverse changes.",
            Body,
            AuditEntry,
            status=201,
            errors=CHANGE_ERRORS,
        )
    )

    async def post(self, version: str) -> None:
        """The new version."""
        identity = self.need_identity()
        self.house.administration.need(identity)
        body = self.body(Body)
        if not version.isascii() or not version.isdecimal() or len(version) > 12:
            raise not_found(f"Version {version[:20]}", "See /api/audit for those that exist.")
        _, entry = await self.house.administration.undo(identity, int(version), body.why)
        self.answer(entry, 201)


class PeopleHandler(PolicyHandler):
    """Accounts, as administrators see them."""

    operations = describe(
        GET=Operation(
            "Accounts with their roles, the deactivated ones too.",
            response=PeopleReply,
            query={
                "q": "beginning of the user name",
                "after": "the user name of the last account that one has",
                "limit": f"1 to {LISTED_PEOPLE}, {LISTED_PEOPLE_BY_DEFAULT} if left out",
            },
            errors=(403,),
        )
    )

    async def get(self) -> None:
        """A page of them."""
        identity = self.need_identity()
        self.house.administration.need(identity)
        limit = self.query_integer("limit", None, 1, LISTED_PEOPLE) or LISTED_PEOPLE_BY_DEFAULT
        people, has_more = await self.house.administration.people(
            identity, self.query_text("q"), self.query_text("after"), limit
        )
        self.answer(PeopleReply(people, has_more, self.version))


class NotificationsHandler(PolicyHandler):
    """Words to people."""

    operations = describe(
        POST=Operation(
            "Tell people something, on their open permission streams.",
            NotificationBody,
            SentReply,
            status=202,
            errors=(403,),
        )
    )

    async def post(self) -> None:
        """Send it."""
        identity = self.need_identity()
        self.house.administration.need(identity, NOTIFY)
        body = self.body(NotificationBody)
        sent_to = self.house.notices.announce(identity, body.message, body.type, body.priority, body.users)
        self.answer(SentReply(sent_to), 202)


class InvalidationsHandler(PolicyHandler):
    """What clients shall fetch anew."""

    operations = describe(
        POST=Operation(
            "Tell clients which of what they remember is out of date.",
            InvalidationBody,
            SentReply,
            status=202,
            errors=(403,),
        )
    )

    async def post(self) -> None:
        """Send it."""
        identity = self.need_identity()
        self.house.administration.need(identity)
        body = self.body(InvalidationBody)
        self.answer(SentReply(self.house.notices.invalidate(identity, body.keys, body.users)), 202)


OVERSIGHT_ROUTES = [
    (r"/api/permissions/preview", PreviewHandler, "what changes would mean"),
    (r"/api/audit", AuditHandler, "what was changed, by whom, when and why"),
    (r"/api/audit/([^/]+)/undo", UndoHandler, "take a change back"),
    (r"/api/admin/users", PeopleHandler, "accounts with their roles"),
    (r"/api/notifications", NotificationsHandler, "words to people"),
    (r"/api/cache-invalidations", InvalidationsHandler, "what clients shall fetch anew"),
]
