"""The first policy of a new store: administrators, what everyone may do, the navigation. Data, like any other."""

from __future__ import annotations

from typing import Final

from heartlink.model import Grant, Menu, Role
from heartlink.policy.desk import Desk
from heartlink.rights import EVERYONE
from heartlink.rights.changes import AnyChange, PutGrant, PutMenu, PutRole
from heartlink.rights.policy import Policy

ADMINISTRATOR: Final = "administrator"
"""The role that holds everything; who has it is a superuser."""

FIRST: Final[tuple[AnyChange, ...]] = (
    PutRole(Role(key=ADMINISTRATOR, name="Administrator", permissions=("*.*",))),
    *(
        PutGrant(Grant(id=f"first:{permission}", subject=EVERYONE, permission=permission))
        for permission in ("room.create", "menu.rooms", "menu.permissions")
    ),
    PutMenu(Menu(key="rooms", name="Rooms", icon="rooms", url="/", permission="menu.rooms", sort_order=10)),
    PutMenu(
        Menu(
            key="permissions",
            name="My rights",
            icon="key",
            url="/permissions/",
            permission="menu.permissions",
            sort_order=20,
        )
    ),
    PutMenu(
        Menu(
            key="admin",
            name="Administration",
            icon="shield",
            url="/admin/",
            permission="permissions.manage",
            sort_order=90,
        )
    ),
)


async def furnish_policy(desk: Desk) -> None:
    """Give a new store its first policy; later starts find it, changed as it may be."""

    def propose(policy: Policy) -> tuple[AnyChange, ...]:
        return FIRST if desk.version == 0 else ()

    await desk.commit(propose, by=None, why="the first policy")
