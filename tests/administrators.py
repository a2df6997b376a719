"""Administrators for the tests: made by the setup link, as people make them."""

from __future__ import annotations

from typing import Any

from tests.actors import Answer, Person, Server


async def administrator(server: Server, username: str = "root") -> Person:
    """The first administrator of a server."""
    person = await server.person(username)
    token = server.house.setup.token
    assert token is not None, "there is an administrator already"
    answer = await person.asks("POST", f"/setup/{token}", {})
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/"), answer
    return person


async def does(person: Person, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
    """A call that works; what it answers. 201 for POST, 200 otherwise, unless said."""
    answer: Answer = await person.asks(method, path, body)
    assert answer.status == (status or (201 if method == "POST" else 200)), (method, path, answer)
    return answer.json


async def grants(person: Person, kind: str, id: str | None, permission: str, scope: str = "*", **more: Any) -> Any:
    """A grant, made by an administrator."""
    subject = {"kind": kind} if id is None else {"kind": kind, "id": id}
    return await does(
        person, "POST", "/api/grants", {"subject": subject, "permission": permission, "scope": scope, **more}
    )
