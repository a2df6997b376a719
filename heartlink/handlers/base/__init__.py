"""The foundation of every handler: identity, typed bodies, refusals as answers, pages (PROTOCOL 2.2, 5, 6)."""

from __future__ import annotations

from heartlink.handlers.base.api import ApiNotFoundHandler, JsonHandler, Operation, describe
from heartlink.handlers.base.application import Application
from heartlink.handlers.base.page import PageHandler, PageNotFoundHandler, safe_path
from heartlink.handlers.base.request import (
    XSRF_COOKIE,
    BaseHandler,
    refusal_record,
    without_tokens,
)

__all__ = [
    "XSRF_COOKIE",
    "ApiNotFoundHandler",
    "Application",
    "BaseHandler",
    "JsonHandler",
    "Operation",
    "PageHandler",
    "PageNotFoundHandler",
    "describe",
    "refusal_record",
    "safe_path",
    "without_tokens",
]
