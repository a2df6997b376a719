"""The first administrator: by a link that only whoever started the server sees, or by name; never the first comer."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final

from heartlink.administration.keepers import MANAGE, Keepers
from heartlink.auth import Auth
from heartlink.auth.passwords import check_password
from heartlink.errors import Refusal, StartupFailure, not_found, unauthenticated
from heartlink.model import Identity, Role, User
from heartlink.names import check_username, fold
from heartlink.policy import ADMINISTRATOR, Desk
from heartlink.rights import EVERYWHERE
from heartlink.rights.changes import AnyChange, PutRole, SetRoles
from heartlink.rights.policy import Policy
from heartlink.store.users import Users

TOKEN_BYTES: Final = 24
PASSWORD_BYTES: Final = 15


class Setup:
    """Makes administrators where there are none. ``token`` opens the setup page, once, in this run of the server."""

    def __init__(self, desk: Desk, users: Users, auth: Auth, keepers: Keepers, *, clock: Callable[[], int]) -> None:
        self.token: str | None = None
        self.made_up: tuple[str, str] | None = None
        """User name and password of an account made in this run, when nobody gave it a password."""
        self._desk = desk
        self._users = users
        self._auth = auth
        self._keepers = keepers
        self._clock = clock

    async def open(self) -> None:
        """Make the link, if nobody can administer."""
        await self._keepers.look_up()
        self.token = None if self._keepers.anybody() else secrets.token_urlsafe(TOKEN_BYTES)

    def check(self, token: str) -> None:
        """Raise ``not_found`` for what is not the link of this run, or was used."""
        if self.token is None or not hmac.compare_digest(self.token.encode(), token.encode()):
            raise not_found("This setup link", "Start the server again: it prints one while nobody is administrator.")

    async def claim(self, identity: Identity, token: str) -> None:
        """Make whoever opened the link an administrator, unless somebody else became one meanwhile."""
        self.check(token)
        await self._keepers.look_up()

        def propose(policy: Policy) -> list[AnyChange]:
            self.check(token)
            if not self._auth.is_current(identity):
                raise unauthenticated("This session has ended.")
            if self._keepers.anybody():
                self.token = None
                self.check(token)
            return promotion(policy, identity.user)

        why = f"{identity.user.username} opened the setup link"
        await self._desk.commit(propose, by=identity.user, why=why)
        self.token = None

    async def create(self, username: str, password: str) -> None:
        """Make an administrator by name, with an account if there is none; ``made_up`` is then its password.

        Raises StartupFailure: this happens while starting.
        """
        made_up = None
        try:
            user = await self._users.by_fold(fold(username[:200]))
            if user is None:
                username = check_username(username)
                made_up = None if password else secrets.token_urlsafe(PASSWORD_BYTES)
                check_password(password or made_up or "")
                user = await self._auth.create_user(username, password or made_up or "", username)
            elif not user.is_active:
                raise StartupFailure(f"The account '{user.username}' was deactivated.", "Name another one.")
            administrator = user
            why = f"{user.username} was named when the server was started"
            await self._desk.commit(lambda policy: promotion(policy, administrator), by=None, why=why)
        except Refusal as refusal:
            line = f"The administrator '{username[:64]}' was not made: {refusal.message}"
            raise StartupFailure(line, refusal.fix) from None
        if not self._desk.policy.rights(user.id).allows(MANAGE, EVERYWHERE, self._clock()):
            raise StartupFailure(f"'{user.username}' has the role, but a grant denies '{MANAGE}'.", "Restore a backup.")
        self.made_up = (user.username, made_up) if made_up else None


def promotion(policy: Policy, user: User) -> list[AnyChange]:
    """The changes that make somebody an administrator, and the role what it was, if it was changed."""
    changes: list[AnyChange] = []
    role = policy.roles.get(ADMINISTRATOR)
    if role is None or "*.*" not in role.permissions:
        permissions = ("*.*", *(role.permissions if role else ()))
        changes.append(PutRole(Role(key=ADMINISTRATOR, name="Administrator", permissions=permissions)))
    roles = policy.roles_of.get(user.id, ())
    if ADMINISTRATOR not in roles:
        changes.append(SetRoles(user.id, (*roles, ADMINISTRATOR)))
    return changes
