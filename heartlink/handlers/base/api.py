"""REST addresses: typed JSON bodies in, JSON out, described by operations (PROTOCOL 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import msgspec

from heartlink.errors import invalid_json, not_found, unsupported_media_type
from heartlink.handlers.base.request import BaseHandler
from heartlink.protocol import explain_mismatch

FORM_TYPE = "application/x-www-form-urlencoded"

Body = TypeVar("Body", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of an address takes and gives; the OpenAPI description is made of these.

    ``query`` names the query's parameters and says what they are; ``also`` lists what else it answers when all is
    well, with the same body; ``errors`` lists refusals beyond the usual ones.
    """

    summary: str
    request: Any = None
    response: Any = None
    status: int = 200
    also: tuple[int, ...] = ()
    query: Mapping[str, str] | None = None
    errors: tuple[int, ...] = ()
    needs_sign_in: bool = True


def describe(**operations: Operation) -> Mapping[str, Operation]:
    """The operations of an address by method: ``operations = describe(GET=Operation(…))``."""
    return MappingProxyType(operations)


class JsonHandler(BaseHandler):
    """A REST address: JSON in, JSON out; ``operations`` describes its methods.

    ``identity`` is who asks (None for nobody) unless ``identifies`` is False; what is invalid never gets here.
    """

    operations: ClassVar[Mapping[str, Operation]] = describe()
    identifies = True

    async def prepare(self) -> None:
        """Check the host, find out who asks, and want the XSRF token from browsers."""
        super().prepare()
        if self.identifies:
            self.identity = await self.identify()
            self.check_xsrf()

    def body(self, kind: type[Body]) -> Body:
        """The body as a record; an empty one counts as ``{}``."""
        content = self.request.body or b"{}"
        if self.request.body:
            self._check_media_type()
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError as error:
            raise explain_mismatch(error, "the body") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise invalid_json(str(error).rstrip(".")) from None
        except RecursionError:
            raise invalid_json("it is nested too deeply") from None

    def _check_media_type(self) -> None:
        seen = self.request.headers.get("Content-Type", "")
        kind = seen.partition(";")[0].strip().lower()
        if not kind or kind.endswith(("/json", "+json")):
            return
        # What curl and others say of every body. A form of a page cannot begin with a brace: it is encoded there.
        if kind == FORM_TYPE and self.request.body.lstrip()[:1] == b"{":
            return
        raise unsupported_media_type(seen)


class ApiNotFoundHandler(JsonHandler):
    """Every address below ``/api/`` that does not exist."""

    identifies = False

    async def prepare(self) -> None:
        """Refuse before anything else."""
        await super().prepare()
        raise not_found("This address", "See /api/routes for those that exist.")
