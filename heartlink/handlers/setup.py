"""The setup page: whoever has the link that the server printed becomes its first administrator (PROTOCOL 6)."""

from __future__ import annotations

from heartlink.handlers.base import PageHandler


class SetupPage(PageHandler):
    """Explains, and has one button; signing in comes first."""

    async def get(self, token: str) -> None:
        """The page, while nobody has used the link."""
        self.house.setup.check(token)
        self.need_sign_in()
        self.render_page("setup.html", setup_path=self.request.path)

    async def post(self, token: str) -> None:
        """Become administrator, once."""
        self.house.setup.check(token)
        identity = self.need_sign_in()
        await self.house.setup.claim(identity, token)
        self.redirect("/admin/", status=303)


SETUP_ROUTES = [(r"/setup/([^/]+)", SetupPage, "become the first administrator")]
