"""Pages: the same identity, security headers, a language, and errors that people can read (PROTOCOL 6)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, NoReturn
from urllib.parse import quote

import msgspec
import tornado.locale
from tornado import web

from heartlink.errors import Refusal, not_found
from heartlink.handlers.base.navigation import BAR_ENTRIES, ICONS, bar_groups, icon_of, navigation_rows
from heartlink.handlers.base.request import BaseHandler
from heartlink.handlers.base.wording import translate_refusal
from heartlink.model import Identity, Menu, User
from heartlink.streams.pushes import menu_views

LOCALE_COOKIE = "heartlink_locale"
DEFAULT_LOCALE = "en_US"
LANGUAGES = (("en_US", "English"), ("zh_CN", "中文"))
THEME_COOKIE = "heartlink_theme"
THEMES = ("light", "dark")
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob: https:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)

log = logging.getLogger("heartlink.http")


class PageHandler(BaseHandler):
    """A page: ``identity`` is who looks at it, and a session that is over means signed out, not an error."""

    def set_default_headers(self) -> None:
        """What every page carries."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:
        """Check the host and find out who looks."""
        super().prepare()
        try:
            self.identity = await self.identify()
        except Refusal as refusal:
            if refusal.status != 401 or "Authorization" in self.request.headers:
                raise
            self.clear_session_cookie()
        self.check_xsrf()

    @property
    def user(self) -> User | None:
        """The signed-in user."""
        return self.identity.user if self.identity else None

    @property
    def csrf_token(self) -> str:
        """What unsafe requests of this page send as ``X-CSRFToken``; its cookie is set along with the page."""
        return self.xsrf_token.decode()

    def need_sign_in(self) -> Identity:
        """Who looks; nobody is sent to the sign-in page and comes back here afterwards."""
        return self.identity or self._go_to_sign_in()

    def _go_to_sign_in(self) -> NoReturn:
        self.redirect(f"/login?next={quote(self.request.uri or '/', safe='/')}")
        raise web.Finish

    def next_path(self) -> str:
        """Where ``?next=`` leads: a path of this site, else the lobby."""
        return safe_path(self.query_text("next", "/", limit=2000))

    def render_page(self, template: str, **context: Any) -> None:
        """Finish with a template; it knows ``user``, ``identity``, ``csrf_token`` and what is given."""
        self.finish(self.render_string(template, **context))

    def get_template_namespace(self) -> dict[str, Any]:
        """What every template knows."""
        namespace = super().get_template_namespace()
        return namespace | {
            "user": self.user,
            "identity": self.identity,
            "csrf_token": self.csrf_token,
            "language": self.locale.code.partition("_")[0],
            "theme": self.theme,
            "languages": LANGUAGES,
            "page_json": self.page_json,
            "page_data": {},
            "modules": self.modules,
            "page_path": self.request.path,
            "menus": self.menus,
            "navigation_rows": navigation_rows,
            "bar_groups": bar_groups,
            "bar_entries": BAR_ENTRIES,
            "icon_of": icon_of,
            "menu_icons": ICONS,
        }

    @property
    def menus(self) -> tuple[Menu, ...]:
        """The menu entries that show to whoever looks, in order."""
        return self.house.desk.policy.menus_of(self.user.id if self.user else None)

    def modules(self, names: tuple[str, ...]) -> list[str]:
        """Addresses of scripts that a page will need, as modules import each other: without a version."""
        return [f"{self.settings.get('static_url_prefix', '/static/')}js/{name}.js" for name in names]

    @property
    def theme(self) -> str:
        """What the page's switch was set to: ``light``, ``dark``, or nothing for what the system prefers."""
        chosen = self.get_cookie(THEME_COOKIE, "")
        return chosen if chosen in THEMES else ""

    def page_json(self, data: dict[str, Any]) -> str:
        """What the page's scripts know from the start: who looks, the words of the language, and ``data``."""
        user = self.user
        shown = user and {name: getattr(user, name) for name in ("id", "username", "display_name", "avatar_url")}
        record = {"user": shown, "locale": self.locale.code, "strings": translations(self.locale)}
        record |= {"menus": menu_views(self.menus)} | data
        # Whatever a name contains, it must not end the script element or begin a comment in it.
        return msgspec.json.encode(record).decode().replace("<", "\\u003c")

    def answer_refusal(self, refusal: Refusal, join_room_id: str = "", asked_scope: str = "") -> None:
        """Finish with the error page; with a room's id it offers to join, with a scope to ask for access."""
        self.put_refusal_headers(refusal)
        words = translations(self.locale)
        message, fix = translate_refusal(words, refusal.message, refusal.fix, refusal.code)
        context = {"code": refusal.code, "message": message, "fix": fix, "join_room_id": join_room_id}
        context |= {"decision_id": refusal.decision_id or "", "asked_scope": asked_scope}
        self.render_page("error.html", status=refusal.status, request_id=self.request_id, **context)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer whatever was raised with the error page, in plain text where even that fails."""
        try:
            super().write_error(status_code, **kwargs)
        except Exception:
            log.exception("%s the error page failed", self.request_id)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{self.get_status()}: something went wrong ({self.request_id}).\n")

    # The language

    def get_user_locale(self) -> tornado.locale.Locale | None:
        """The language somebody chose: by the cookie of the page's switch, else in the profile."""
        chosen = (self.get_cookie(LOCALE_COOKIE), self.user.locale if self.user else None)
        code = closest_locale(code for code in chosen if code)
        return tornado.locale.get(code) if code else None

    def get_browser_locale(self, default: str = DEFAULT_LOCALE) -> tornado.locale.Locale:
        """The language the browser prefers, of those there are."""
        accepted = self.request.headers.get("Accept-Language", "")
        return tornado.locale.get(closest_locale(_preferred(accepted)) or default)


class PageNotFoundHandler(PageHandler):
    """Every page that does not exist."""

    async def prepare(self) -> None:
        """Refuse before anything else."""
        await super().prepare()
        raise not_found("This page", "Go back to the start page.")


def safe_path(path: str) -> str:
    """The path if it is one of this site, else ``/``: a link must not lead people who sign in elsewhere."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_local and path.isprintable() and "\\" not in path else "/"


def translations(locale: tornado.locale.Locale) -> dict[str, str]:
    """The words of a language by their English source; none for English itself."""
    tables: dict[str, dict[str, str]] = getattr(locale, "translations", {})
    return dict(tables.get("unknown", {}))


def closest_locale(codes: Iterable[str]) -> str | None:
    """The first code there is a translation for, by language where the country differs."""
    supported = sorted(tornado.locale.get_supported_locales())
    for code in codes:
        wanted = code.replace("-", "_").lower()
        for known in supported:
            if known.lower() == wanted:
                return known
        for known in supported:
            if known.lower().partition("_")[0] == wanted.partition("_")[0]:
                return known
    return None


def _preferred(accepted: str) -> list[str]:
    """The codes of an Accept-Language header, best first."""
    ranked: list[tuple[float, str]] = []
    for part in accepted.split(",")[:20]:
        code, _, weight = part.partition(";")
        try:
            rank = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if rank > 0:
            ranked.append((-rank, code.strip()))
    return [code for _, code in sorted(ranked, key=lambda pair: pair[0])]
