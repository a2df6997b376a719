"""The pages: lobby, sign-in, conversation, invitation (PROTOCOL 6)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tornado.web import StaticFileHandler

from heartlink.errors import not_a_member
from heartlink.handlers.base import PageHandler
from heartlink.model import RoomId
from heartlink.rights import EVERYWHERE, room_scope

MANAGE = "permissions.manage"
ADMIN_SECTIONS = (
    ("users", "Users", "people"),
    ("roles", "Roles", "shield"),
    ("groups", "Groups", "folder"),
    ("grants", "Grants", "key"),
    ("menus", "Menus", "menu"),
    ("audit", "Audit", "clock"),
    ("connected", "Connected", "link"),
    ("notify", "Notification", "bell"),
)
ROOM_KIND_LABELS = {"private": "Private", "group": "Group", "public": "Public"}


class LobbyPage(PageHandler):
    """My rooms; a welcome for those who are not signed in."""

    async def get(self) -> None:
        """The lobby, or the welcome."""
        if self.identity is None:
            self.render_page("welcome.html", next_query="")
        else:
            self.render_page("lobby.html")


class SignInPage(PageHandler):
    """Sign in, or make an account; ``?next=`` says where to go afterwards, on this site only."""

    is_register = False

    async def get(self) -> None:
        """The form; who is signed in already goes on."""
        next_path = self.next_path()
        if self.identity is not None:
            self.redirect(next_path)
            return
        self.render_page(
            "auth.html", is_register=self.is_register, next_path=next_path, next_query=next_query(next_path)
        )


class RegisterPage(SignInPage):
    """Make an account."""

    is_register = True


class ChatPage(PageHandler):
    """A conversation. A room one may not enter is answered with the reason and its status."""

    async def get(self, room_id: str) -> None:
        """The conversation of a room; a public one that is not mine yet offers to join."""
        user = self.need_sign_in().user
        room = await self.house.views.room(user, RoomId(room_id))
        if "chat.read" not in room.capabilities:
            is_public = room.kind == "public"
            scope = "" if is_public else room_scope(RoomId(room.id))
            self.answer_refusal(not_a_member(room_id), join_room_id=room.id if is_public else "", asked_scope=scope)
            return
        others = [member.display_name for member in room.members if member.user_id != user.id]
        data: dict[str, Any] = {
            "room": {"id": room.id, "name": room.name, "kind": room.kind, "status": room.status},
            "capabilities": room.capabilities,
            "members": room.members,
            "unread": room.unread,
            "read_up_to": room.read_up_to,
        }
        self.render_page("chat.html", room_title=room.name or ", ".join(others), page_data=data)


class InvitePage(PageHandler):
    """Who invites where, and one button."""

    async def get(self, code: str) -> None:
        """The invitation behind a link; one that is over is answered with the reason and its status."""
        invite = await self.house.views.invite(await self.house.invites.under(code))
        self.render_page(
            "invite.html",
            code=code,
            room_name=invite.room.name,
            inviter_name=invite.inviter.display_name,
            kind_label=self.locale.translate(ROOM_KIND_LABELS[invite.room.kind]),
            expires_at=invite.expires_at,
            next_query=next_query(f"/invite/{quote(code, safe='')}"),
        )


class PermissionsPage(PageHandler):
    """My rights, live."""

    async def get(self) -> None:
        """What the stream of whoever looks fills."""
        self.need_sign_in()
        self.render_page("permissions.html")


class AdminPage(PageHandler):
    """The console of those who manage rights; everybody else is told why not."""

    async def get(self) -> None:
        """The console, or the reason and its status."""
        user = self.need_sign_in().user
        if not self.house.desk.policy.rights(user.id).allows(MANAGE, now_ms=self.house.clock()):
            raise self.house.desk.decisions.deny(user.id, MANAGE, EVERYWHERE)
        sections = [(key, self.locale.translate(label), drawing) for key, label, drawing in ADMIN_SECTIONS]
        self.render_page("admin.html", sections=sections)


class TrailingSlash(PageHandler):
    """The address of a page without its last slash."""

    async def get(self, *_: str) -> None:
        """Go to the page."""
        self.redirect(self.request.path + "/", permanent=True)


class StaticFiles(StaticFileHandler):
    """Scripts, styles and pictures; pages of other origins may import the scripts."""

    def set_extra_headers(self, path: str) -> None:
        """What Tornado does not say by itself."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Access-Control-Allow-Origin", "*")
        if self.get_argument("v", None) is None:
            # Modules import each other without a version: a mixture of old and new ones would not fit together.
            self.set_header("Cache-Control", "no-cache")


def next_query(path: str) -> str:
    """``?next=…`` for a link that shall come back; nothing for the lobby."""
    return "" if path == "/" else f"?next={quote(path, safe='/')}"


PAGE_ROUTES = [
    (r"/", LobbyPage, "lobby"),
    (r"/login", SignInPage, "sign in"),
    (r"/register", RegisterPage, "make an account"),
    (r"/chat/([^/]+)/", ChatPage, "conversation"),
    (r"/chat/([^/]+)", TrailingSlash, "conversation"),
    (r"/tools/heart_link/chat/([^/]+)/", ChatPage, "conversation, at its old address"),
    (r"/tools/heart_link/chat/([^/]+)", TrailingSlash, "conversation, at its old address"),
    (r"/invite/([^/]+)", InvitePage, "invitation"),
    (r"/permissions/", PermissionsPage, "my rights, live"),
    (r"/permissions", TrailingSlash, "my rights, live"),
    (r"/admin/", AdminPage, "console of the administrators"),
    (r"/admin", TrailingSlash, "console of the administrators"),
]
