"""The foundation of every handler: identity, typed bodies, refusals as answers, pages (PROTOCOL 2.2, 5, 6)."""

from __future__ import annotations

from heartlink.handlers.base.api import ApiNotFoundHandler, JsonHandler, Operation
from heartlink.handlers.base.page import PageHandler, PageNotFoundHandler, safe_path
from heartlink.handlers.base.request import (
    APPLICATION_SETTINGS,
    XSRF_COOKIE,
    BaseHandler,
    refusal_record,
    without_tokens,
)

__all__ = [
    "APPLICATION_SETTINGS",
    "XSRF_COOKIE",
    "ApiNotFoundHandler",
    "BaseHandler",
    "JsonHandler",
    "Operation",
    "PageHandler",
    "PageNotFoundHandler",
    "refusal_record",
    "safe_path",
    "without_tokens",
]
