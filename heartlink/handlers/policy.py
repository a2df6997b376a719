"""The policy over HTTP: roles, who has them, groups, grants, menus (PROTOCOL 5)."""

from __future__ import annotations

import heapq
from typing import cast

import msgspec

from heartlink.administration import CALLS, Wish
from heartlink.administration.views import (
    GrantView,
    GroupMembersView,
    GroupView,
    MenuEntryView,
    RoleView,
    SubjectKind,
    UserRolesView,
    all_grants,
    grant_view,
    group_members_view,
    group_view,
    menu_entry_view,
    role_view,
)
from heartlink.administration.wishes import (
    Body,
    MenuChanges,
    NewGrant,
    NewGroup,
    NewGroupMembers,
    NewMenu,
    NewRole,
    NewRoles,
    RoleChanges,
)
from heartlink.errors import not_found, unfit
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.model import Grant, Subject, UserId
from heartlink.rights.policy import Policy

LISTED_GRANTS = 1000
LISTED_GRANTS_BY_DEFAULT = 200


class RoleReply(RoleView, frozen=True, kw_only=True):
    """A role, and the version of the policy that has it so."""

    version: int


class UserRolesReply(UserRolesView, frozen=True, kw_only=True):
    """A user's roles, and the version of the policy that has them so."""

    version: int


class GroupReply(GroupView, frozen=True, kw_only=True):
    """A group, and the version of the policy that has it so."""

    version: int


class GroupMembersReply(GroupMembersView, frozen=True, kw_only=True):
    """A group's members, and the version of the policy that has them so."""

    version: int


class GrantReply(GrantView, frozen=True, kw_only=True):
    """A grant, and the version of the policy that has it so."""

    version: int


class MenuReply(MenuEntryView, frozen=True, kw_only=True):
    """A menu entry, and the version of the policy that has it so."""

    version: int


class RolesReply(msgspec.Struct, frozen=True):
    """All roles, by key."""

    roles: list[RoleView]
    version: int


class GroupsReply(msgspec.Struct, frozen=True):
    """All groups, by key."""

    groups: list[GroupView]
    version: int


class GrantsReply(msgspec.Struct, frozen=True):
    """Grants by id."""

    grants: list[GrantView]
    has_more: bool
    version: int


class MenusReply(msgspec.Struct, frozen=True):
    """All menu entries in their order, whether they show to oneself or not."""

    menus: list[MenuEntryView]
    version: int


CHANGE_ERRORS = (403, 404, 409)


class PolicyHandler(JsonHandler):
    """What the addresses of the policy share: their methods are rows of one table of calls."""

    @property
    def policy(self) -> Policy:
        """The policy, for somebody who may see all of it."""
        self.house.administration.need(self.need_identity())
        return self.house.desk.policy

    async def change(
        self, path: str, body: type[Body], reply: type[msgspec.Struct], name: str = "", status: int = 200
    ) -> None:
        """Do what the method at this address wishes, and answer with what it made."""
        identity = self.need_identity()
        # Who may not gets to know nothing of what would fit.
        self.house.administration.need(identity)
        call = next(call for call in CALLS if call.method == self.request.method and call.path == path)
        wanted = self.body(body)
        wish: Wish = call.wish(name, wanted, self.house.clock())
        outcome, version = await self.house.administration.carry_out(identity, wish, wanted.why)
        self.answer(reply(**msgspec.structs.asdict(outcome), version=version), status)

    @property
    def version(self) -> int:
        """The latest version of the policy."""
        return self.house.desk.version


class RolesHandler(PolicyHandler):
    """Roles."""

    operations = describe(
        GET=Operation("All roles.", response=RolesReply, errors=(403,)),
        POST=Operation("Make a role.", NewRole, RoleReply, status=201, errors=(403, 409)),
    )

    async def get(self) -> None:
        """All of them."""
        policy = self.policy
        self.answer(RolesReply([role_view(policy, policy.roles[key]) for key in sorted(policy.roles)], self.version))

    async def post(self) -> None:
        """A new one."""
        await self.change("/api/roles", NewRole, RoleReply, status=201)


class RoleHandler(PolicyHandler):
    """One role."""

    operations = describe(
        GET=Operation("A role.", response=RoleReply, errors=(403, 404)),
        PATCH=Operation("Change a role.", RoleChanges, RoleReply, errors=CHANGE_ERRORS),
        DELETE=Operation(
            "Delete a role: it is taken from everybody, those below it inherit from its parent, its grants end.",
            Body,
            RoleReply,
            errors=CHANGE_ERRORS,
        ),
    )

    async def get(self, key: str) -> None:
        """The role."""
        policy = self.policy
        if key not in policy.roles:
            raise not_found(f"The role '{key[:64]}'", "See /api/roles for those that exist.")
        shown = msgspec.structs.asdict(role_view(policy, policy.roles[key]))
        self.answer(RoleReply(**shown, version=self.version))

    async def patch(self, key: str) -> None:
        """Another state."""
        await self.change("/api/roles/*", RoleChanges, RoleReply, key)

    async def delete(self, key: str) -> None:
        """It is no more."""
        await self.change("/api/roles/*", Body, RoleReply, key)


class UserRolesHandler(PolicyHandler):
    """The roles of a user."""

    operations = describe(
        GET=Operation("A user's roles.", response=UserRolesReply, errors=(403, 404)),
        PUT=Operation("Give a user these roles, and no others.", NewRoles, UserRolesReply, errors=CHANGE_ERRORS),
    )

    async def get(self, user_id: str) -> None:
        """Their keys."""
        policy = self.policy
        if UserId(user_id) not in policy.users:
            raise not_found("This user", "See /api/admin/users for those that exist.")
        roles = list(policy.roles_of.get(UserId(user_id), ()))
        self.answer(UserRolesReply(user_id=user_id, roles=roles, version=self.version))

    async def put(self, user_id: str) -> None:
        """These, and no others."""
        await self.change("/api/users/*/roles", NewRoles, UserRolesReply, user_id)


class GroupsHandler(PolicyHandler):
    """Groups."""

    operations = describe(
        GET=Operation("All groups.", response=GroupsReply, errors=(403,)),
        POST=Operation("Make a group.", NewGroup, GroupReply, status=201, errors=(403, 409)),
    )

    async def get(self) -> None:
        """All of them."""
        policy = self.policy
        groups = [group_view(policy, policy.groups[key]) for key in sorted(policy.groups)]
        self.answer(GroupsReply(groups, self.version))

    async def post(self) -> None:
        """A new one."""
        await self.change("/api/groups", NewGroup, GroupReply, status=201)


class GroupHandler(PolicyHandler):
    """One group."""

    operations = describe(
        DELETE=Operation("Delete a group: nobody is in it, its grants end.", Body, GroupReply, errors=CHANGE_ERRORS),
    )

    async def delete(self, key: str) -> None:
        """It is no more."""
        await self.change("/api/groups/*", Body, GroupReply, key)


class GroupMembersHandler(PolicyHandler):
    """The members of a group."""

    operations = describe(
        GET=Operation("A group's members.", response=GroupMembersReply, errors=(403, 404)),
        PUT=Operation(
            "Make these the members of a group, and no others.",
            NewGroupMembers,
            GroupMembersReply,
            errors=CHANGE_ERRORS,
        ),
    )

    async def get(self, key: str) -> None:
        """Their ids."""
        policy = self.policy
        if key not in policy.groups:
            raise not_found(f"The group '{key[:64]}'", "See /api/groups for those that exist.")
        shown = msgspec.structs.asdict(group_members_view(policy, policy.groups[key]))
        self.answer(GroupMembersReply(**shown, version=self.version))

    async def put(self, key: str) -> None:
        """These, and no others."""
        await self.change("/api/groups/*/members", NewGroupMembers, GroupMembersReply, key)


class GrantsHandler(PolicyHandler):
    """Grants."""

    operations = describe(
        GET=Operation(
            "Grants, by id; roles in a room are listed where the scope of that room is asked for.",
            response=GrantsReply,
            query={
                "subject": "user:<id>, role:<key>, group:<key>, everyone or anonymous",
                "scope": "* or room:<id>",
                "permission": "resource.action",
                "after": "the id of the last grant that one has",
                "limit": f"1 to {LISTED_GRANTS}, {LISTED_GRANTS_BY_DEFAULT} if left out",
            },
            errors=(403,),
        ),
        POST=Operation("Grant or deny something.", NewGrant, GrantReply, status=201, errors=(403,)),
    )

    async def get(self) -> None:
        """Those that were asked for."""
        policy = self.policy
        subject, scope = self.query_text("subject"), self.query_text("scope") or None
        kind, _, name = subject.partition(":")
        if subject and not ((name and kind in ("user", "role", "group")) or subject in ("everyone", "anonymous")):
            raise unfit("subject", "it is no subject", "Write user:<id>, role:<key>, group:<key> or everyone.")
        permission, after = self.query_text("permission"), self.query_text("after")
        limit = self.query_integer("limit", None, 1, LISTED_GRANTS) or LISTED_GRANTS_BY_DEFAULT

        wanted = Subject(cast(SubjectKind, kind), name) if subject else None

        def fits(grant: Grant) -> bool:
            return (
                grant.id > after
                and (wanted is None or grant.subject == wanted)
                and (not permission or grant.permission == permission)
            )

        rows = (row for row in all_grants(policy, scope, wanted) if fits(row[0]))
        found = heapq.nsmallest(limit + 1, rows, key=lambda row: row[0].id)
        shown = [grant_view(grant, source) for grant, source in found[:limit]]
        self.answer(GrantsReply(shown, len(found) > limit, self.version))

    async def post(self) -> None:
        """A new one."""
        await self.change("/api/grants", NewGrant, GrantReply, status=201)


class GrantHandler(PolicyHandler):
    """One grant."""

    operations = describe(DELETE=Operation("Take a grant back.", Body, GrantReply, errors=CHANGE_ERRORS))

    async def delete(self, grant_id: str) -> None:
        """It is no more."""
        await self.change("/api/grants/*", Body, GrantReply, grant_id)


class MenusHandler(PolicyHandler):
    """Menu entries."""

    operations = describe(
        GET=Operation("All menu entries.", response=MenusReply, errors=(403,)),
        POST=Operation("Make a menu entry.", NewMenu, MenuReply, status=201, errors=(403, 409)),
    )

    async def get(self) -> None:
        """All of them, in their order."""
        menus = sorted(self.policy.menus.values(), key=lambda menu: (menu.sort_order, menu.key))
        self.answer(MenusReply([menu_entry_view(menu) for menu in menus], self.version))

    async def post(self) -> None:
        """A new one."""
        await self.change("/api/menus", NewMenu, MenuReply, status=201)


class MenuHandler(PolicyHandler):
    """One menu entry."""

    operations = describe(
        PATCH=Operation("Change a menu entry.", MenuChanges, MenuReply, errors=CHANGE_ERRORS),
        DELETE=Operation(
            "Delete a menu entry; those below it go to where it was.", Body, MenuReply, errors=CHANGE_ERRORS
        ),
    )

    async def patch(self, key: str) -> None:
        """Another state."""
        await self.change("/api/menus/*", MenuChanges, MenuReply, key)

    async def delete(self, key: str) -> None:
        """It is no more."""
        await self.change("/api/menus/*", Body, MenuReply, key)


POLICY_ROUTES = [
    (r"/api/roles", RolesHandler, "roles"),
    (r"/api/roles/([^/]+)", RoleHandler, "a role"),
    (r"/api/users/([^/]+)/roles", UserRolesHandler, "a user's roles"),
    (r"/api/groups", GroupsHandler, "groups"),
    (r"/api/groups/([^/]+)", GroupHandler, "a group"),
    (r"/api/groups/([^/]+)/members", GroupMembersHandler, "its members"),
    (r"/api/grants", GrantsHandler, "grants"),
    (r"/api/grants/([^/]+)", GrantHandler, "a grant"),
    (r"/api/menus", MenusHandler, "menu entries"),
    (r"/api/menus/([^/]+)", MenuHandler, "a menu entry"),
]
