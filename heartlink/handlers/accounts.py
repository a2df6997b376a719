"""Accounts over HTTP: register, log in and out, profile, users, tickets (PROTOCOL 5)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from heartlink.administration.views import PersonView
from heartlink.auth import SignedIn
from heartlink.errors import not_found, unauthenticated
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.model import User, UserId
from heartlink.names import check_avatar_url, check_bio, check_display_name, check_locale, check_tags, fold
from heartlink.protocol import UserProfile, iso

FOUND_USERS = 50
FOUND_USERS_BY_DEFAULT = 20


class RegisterBody(msgspec.Struct, frozen=True):
    """A new account; without a display name the user name is shown."""

    username: str
    password: str
    display_name: str = ""


class LogInBody(msgspec.Struct, frozen=True):
    """Who wants to come in."""

    username: str
    password: str


class PasswordBody(msgspec.Struct, frozen=True):
    """The password as it is and as it shall be."""

    old_password: str
    new_password: str


class ProfileChanges(msgspec.Struct, frozen=True):
    """What shall be changed of one's own profile; what is not there stays."""

    display_name: str | UnsetType = UNSET
    bio: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    avatar_url: str | UnsetType = UNSET
    locale: str | UnsetType = UNSET


class ActiveBody(msgspec.Struct, frozen=True):
    """Whether somebody may sign in."""

    is_active: bool


class OwnProfile(UserProfile, frozen=True, kw_only=True):
    """A user as they see themselves."""

    created_at: str
    locale: str = ""


class SignedInReply(msgspec.Struct, frozen=True):
    """A token, when it expires, and whose it is."""

    token: str
    expires_at: str
    user: UserProfile


class UsersReply(msgspec.Struct, frozen=True):
    """Users that were looked for."""

    users: list[UserProfile]


class TicketReply(msgspec.Struct, frozen=True):
    """A one-use ticket for ``?token=`` of a socket; ``expires_in`` in seconds."""

    ticket: str
    expires_in: int


class AccountHandler(JsonHandler):
    """What the addresses of accounts share."""

    def profile(self, user: User) -> UserProfile:
        """A user as others see them."""
        return self.house.live_rooms.profile(user, self.house.hub.is_online(user.id))

    def own_profile(self, user: User) -> OwnProfile:
        """A user as they see themselves."""
        shown = msgspec.structs.asdict(self.profile(user))
        return OwnProfile(**shown, created_at=iso(user.created_at_ms), locale=user.locale)

    def answer_signed_in(self, signed_in: SignedIn, status: int = 200) -> None:
        """Answer with the token, in the body and as the session's cookie."""
        self.set_session_cookie(signed_in)
        user = self.profile(signed_in.user)
        self.answer(SignedInReply(signed_in.token, iso(signed_in.expires_at_ms), user), status)


class EntryHandler(AccountHandler):
    """An address for people who are not signed in; pages of other sites may not use it."""

    identifies = False

    async def prepare(self) -> None:
        """Refuse what a page of another site sends in somebody's name."""
        await super().prepare()
        if self.request.method == "POST":
            self.check_foreign_origin()


class RegisterHandler(EntryHandler):
    """Makes accounts."""

    operations = describe(
        POST=Operation(
            "Make an account and sign in.",
            RegisterBody,
            SignedInReply,
            status=201,
            errors=(409, 429),
            needs_sign_in=False,
        )
    )

    async def post(self) -> None:
        """A new account, signed in."""
        body = self.body(RegisterBody)
        signed_in = await self.house.auth.register(body.username, body.password, body.display_name, self.client_address)
        self.answer_signed_in(signed_in, 201)


class LogInHandler(EntryHandler):
    """Lets people in."""

    operations = describe(POST=Operation("Sign in.", LogInBody, SignedInReply, errors=(401, 429), needs_sign_in=False))

    async def post(self) -> None:
        """A new session."""
        body = self.body(LogInBody)
        self.answer_signed_in(await self.house.auth.log_in(body.username, body.password, self.client_address))


class LogOutHandler(AccountHandler):
    """Lets people go."""

    operations = describe(POST=Operation("End the token's session and its sockets.", status=204))

    async def post(self) -> None:
        """End the session at once."""
        identity = self.need_identity()
        self.clear_session_cookie()
        await self.house.auth.log_out(identity)
        self.answer_nothing()


class RefreshHandler(AccountHandler):
    """Gives later tokens."""

    operations = describe(POST=Operation("A new token of the same session.", response=SignedInReply))

    async def post(self) -> None:
        """A new token of the same session."""
        self.answer_signed_in(self.house.auth.refresh(self.need_identity()))


class PasswordHandler(AccountHandler):
    """Replaces passwords."""

    operations = describe(
        POST=Operation(
            "Change the password: every token of the user and every socket ends, and a new token is given.",
            PasswordBody,
            SignedInReply,
            errors=(429,),
        )
    )

    async def post(self) -> None:
        """The new password counts from now on."""
        identity = self.need_identity()
        body = self.body(PasswordBody)
        signed_in = await self.house.auth.change_password(
            identity, body.old_password, body.new_password, self.client_address
        )
        self.answer_signed_in(signed_in)


class MeHandler(AccountHandler):
    """One's own profile."""

    operations = describe(
        GET=Operation("My profile.", response=OwnProfile),
        PATCH=Operation("Change my profile.", ProfileChanges, OwnProfile),
    )

    async def get(self) -> None:
        """My profile."""
        self.answer(self.own_profile(self.need_identity().user))

    async def patch(self) -> None:
        """Change what is named."""
        identity = self.need_identity()
        changes = _checked(self.body(ProfileChanges), identity.user)
        user = await self.house.users.update(identity.user.id, lambda user: msgspec.structs.replace(user, **changes))
        if user is None:
            raise unauthenticated("This account does not exist any more.")
        self.answer(self.own_profile(user))


class UsersHandler(AccountHandler):
    """Finds people."""

    operations = describe(
        GET=Operation(
            "Users whose name begins with `q`, by name.",
            response=UsersReply,
            query={
                "q": "beginning of the user name",
                "limit": f"1 to {FOUND_USERS}, {FOUND_USERS_BY_DEFAULT} if left out",
            },
        )
    )

    async def get(self) -> None:
        """Users by the beginning of their name."""
        self.need_identity()
        limit = self.query_integer("limit", None, 1, FOUND_USERS) or FOUND_USERS_BY_DEFAULT
        users = await self.house.users.search(fold(self.query_text("q")), limit)
        self.answer(UsersReply([self.profile(user) for user in users]))


class UserHandler(AccountHandler):
    """Somebody's profile."""

    operations = describe(
        GET=Operation("A user's profile.", response=UserProfile, errors=(404,)),
        PATCH=Operation(
            "Deactivate an account, ending its tokens and sockets at once, or let it in again.",
            ActiveBody,
            PersonView,
            errors=(403, 404, 409),
        ),
    )

    async def get(self, user_id: str) -> None:
        """A user's profile."""
        self.need_identity()
        user = await self.house.users.get(UserId(user_id))
        if user is None:
            raise not_found("This user")
        self.answer(self.profile(user))

    async def patch(self, user_id: str) -> None:
        """In, or out; for those who administer."""
        identity = self.need_identity()
        self.house.administration.need(identity)
        body = self.body(ActiveBody)
        self.answer(await self.house.administration.set_active(identity, UserId(user_id), body.is_active))


class TicketHandler(AccountHandler):
    """Gives tickets for sockets."""

    operations = describe(
        POST=Operation("A one-use ticket for `?token=` of a socket.", response=TicketReply, errors=(429,))
    )

    async def post(self) -> None:
        """A ticket bound to this session."""
        self.answer(TicketReply(*self.house.auth.issue_ticket(self.need_identity())))


def _checked(changes: ProfileChanges, user: User) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    if changes.display_name is not UNSET:
        # Without a name of their own people are shown by their user name.
        name = changes.display_name.strip()
        checked["display_name"] = check_display_name(name) if name else user.username
    if changes.bio is not UNSET:
        checked["bio"] = check_bio(changes.bio)
    if changes.tags is not UNSET:
        checked["tags"] = check_tags(changes.tags)
    if changes.avatar_url is not UNSET:
        checked["avatar_url"] = check_avatar_url(changes.avatar_url)
    if changes.locale is not UNSET:
        checked["locale"] = check_locale(changes.locale)
    return checked


ACCOUNT_ROUTES = [
    (r"/api/auth/register", RegisterHandler, "make an account"),
    (r"/api/auth/login", LogInHandler, "sign in"),
    (r"/api/auth/logout", LogOutHandler, "sign out"),
    (r"/api/auth/refresh", RefreshHandler, "a later token of the same session"),
    (r"/api/auth/password", PasswordHandler, "change the password"),
    (r"/api/me", MeHandler, "my profile"),
    (r"/api/users", UsersHandler, "find people"),
    (r"/api/users/([^/]+)", UserHandler, "a profile"),
    (r"/api/ws-ticket", TicketHandler, "a one-use ticket for a socket"),
]
