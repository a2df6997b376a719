"""Files on their way out: rights at each request, ranges, conditions, headers, and ends that cut them off."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from heartlink.handlers.files import disposition
from heartlink.handlers.ranges import Content, Part, choose_part
from heartlink.model import StoredFile
from tests.actors import PASSWORD, Person, Server
from tests.administrators import administrator, grants
from tests.conftest import Serve
from tests.filing import filed
from tests.raw_peer import until

pytestmark = pytest.mark.gen_test(timeout=60)

LETTERS = b"abcdefghijklmnopqrstuvwxyz"
PATIENCE_SECONDS = 30.0


class Scene(NamedTuple):
    server: Server
    ann: Person
    bob: Person
    room: str


async def opened(serve: Serve, **settings: Any) -> Scene:
    """Ann's room, in which Bob is."""
    server = await serve(**settings)
    ann, bob = await server.person("ann"), await server.person("bob")
    return Scene(server, ann, bob, await ann.opens(name="Tea", members=["bob"]))


def address(file: StoredFile, name: str = "") -> str:
    return f"/files/{file.id}/{quote(name or file.name, safe='')}"


# Ranges and conditions, without a server

CONTENT = Content(1000, '"tag"', 1_700_000_000)
DATE, EARLIER, LATER = "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"
WHOLE = Part(200, 0, 1000)

CHOICES: list[tuple[dict[str, str], Part]] = [
    ({}, WHOLE),
    ({"Range": "bytes=0-0"}, Part(206, 0, 1)),
    ({"Range": "bytes=0-"}, Part(206, 0, 1000)),
    ({"Range": "bytes=10-19"}, Part(206, 10, 10)),
    ({"Range": "Bytes = 10 - 19 "}, Part(206, 10, 10)),
    ({"Range": "bytes=990-5000"}, Part(206, 990, 10)),
    ({"Range": "bytes=-10"}, Part(206, 990, 10)),
    ({"Range": "bytes=-5000"}, Part(206, 0, 1000)),
    ({"Range": "bytes=999-"}, Part(206, 999, 1)),
    ({"Range": "bytes=1000-"}, Part(416)),
    ({"Range": "bytes=1000-1001"}, Part(416)),
    ({"Range": "bytes=-0"}, Part(416)),
    ({"Range": "bytes=-"}, WHOLE),
    ({"Range": "bytes=5-4"}, WHOLE),
    ({"Range": "bytes=a-b"}, WHOLE),
    ({"Range": "bytes=٠-١"}, WHOLE),
    ({"Range": "bytes=0-1,5-6"}, WHOLE),
    ({"Range": "pages=1-2"}, WHOLE),
    ({"Range": "bytes=" + "9" * 5000 + "-"}, WHOLE),
    ({"Range": ""}, WHOLE),
    ({"If-None-Match": '"tag"'}, Part(304)),
    ({"If-None-Match": 'W/"tag"'}, Part(304)),
    ({"If-None-Match": '"other", "tag"'}, Part(304)),
    ({"If-None-Match": "*"}, Part(304)),
    ({"If-None-Match": '"other"'}, WHOLE),
    ({"If-None-Match": '"other"', "If-Modified-Since": DATE}, WHOLE),
    ({"If-None-Match": '"tag"', "Range": "bytes=0-1"}, Part(304)),
    ({"If-Modified-Since": DATE}, Part(304)),
    ({"If-Modified-Since": LATER}, Part(304)),
    ({"If-Modified-Since": EARLIER}, WHOLE),
    ({"If-Modified-Since": "yesterday"}, WHOLE),
    ({"If-Match": '"tag"'}, WHOLE),
    ({"If-Match": "*"}, WHOLE),
    ({"If-Match": 'W/"tag"'}, Part(412)),
    ({"If-Match": '"other"'}, Part(412)),
    ({"If-Unmodified-Since": DATE}, WHOLE),
    ({"If-Unmodified-Since": EARLIER}, Part(412)),
    ({"Range": "bytes=0-1", "If-Range": '"tag"'}, Part(206, 0, 2)),
    ({"Range": "bytes=0-1", "If-Range": 'W/"tag"'}, WHOLE),
    ({"Range": "bytes=0-1", "If-Range": '"other"'}, WHOLE),
    ({"Range": "bytes=0-1", "If-Range": DATE}, Part(206, 0, 2)),
    ({"Range": "bytes=0-1", "If-Range": EARLIER}, WHOLE),
    ({"Range": "bytes=0-1", "If-Range": LATER}, WHOLE),
]


@pytest.mark.parametrize(("headers", "expected"), CHOICES, ids=[str(headers)[:60] for headers, _ in CHOICES])
def test_what_a_request_gets(headers: dict[str, str], expected: Part) -> None:
    assert choose_part("GET", headers, CONTENT) == expected


def test_only_get_has_ranges_and_what_is_empty_has_none() -> None:
    assert choose_part("HEAD", {"Range": "bytes=0-1"}, CONTENT) == WHOLE
    empty = Content(0, '"tag"', 0)
    assert choose_part("GET", {}, empty) == Part(200, 0, 0)
    assert choose_part("GET", {"Range": "bytes=0-"}, empty).status == 416


@pytest.mark.parametrize(
    ("name", "plain", "encoded"),
    [
        ("notes.txt", "notes.txt", "notes.txt"),
        ("日记.txt", "__.txt", "%E6%97%A5%E8%AE%B0.txt"),
        ('a"b\\c;d.txt', "a_b_c;d.txt", "a%22b%5Cc%3Bd.txt"),
        ("100%.txt", "100_.txt", "100%25.txt"),
        ("a\r\nb", "a__b", "a%0D%0Ab"),
    ],
)
def test_names_in_headers_are_plain_and_encoded(name: str, plain: str, encoded: str) -> None:
    assert disposition(name, is_inline=False) == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


# From a server

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}


async def test_a_member_gets_the_file_as_an_attachment_under_a_policy_that_lets_nothing_run(serve: Serve) -> None:
    server, ann, bob, room = await opened(serve)
    file = await filed(server, room, ann, LETTERS, name="信.html")
    answer = await bob.asks("GET", address(file))
    assert answer.status == 200 and answer.body == LETTERS
    assert {name: answer.headers[name] for name in SAFE} == SAFE
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Length"] == str(len(LETTERS))
    assert answer.headers["Content-Disposition"] == "attachment; filename=\"_.html\"; filename*=UTF-8''%E4%BF%A1.html"
    assert "Cookie" in answer.headers["Vary"]
    made = parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp()
    assert made == file.created_at_ms // 1000


async def test_what_is_safe_to_show_is_shown_and_nothing_else(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    for mime, inline, kind in (
        ("image/png", True, "inline"),
        ("audio/webm", True, "inline"),
        ("image/png", False, "attachment"),
        # However a row comes to say so: what could run is not shown.
        ("image/svg+xml", True, "attachment"),
        ("text/html", True, "attachment"),
    ):
        file = await filed(server, room, ann, LETTERS, mime=mime, inline=inline)
        answer = await ann.asks("GET", address(file))
        assert answer.headers["Content-Disposition"].startswith(kind + ";"), (mime, answer.headers)
        assert answer.headers["Content-Type"] == mime
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ") and "script" not in policy
        assert policy.endswith("sandbox allow-same-origin" if mime == "audio/webm" else "sandbox")


async def test_head_says_the_same_without_the_content(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    file = await filed(server, room, ann, LETTERS)
    whole = await ann.asks("GET", address(file))
    head = await ann.asks("HEAD", address(file), headers={"Range": "bytes=0-1"})
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Content-Disposition", "Accept-Ranges"):
        assert head.headers[name] == whole.headers[name]
    # The connection is still good: nothing more was sent than was announced.
    assert (await ann.asks("GET", address(file))).body == LETTERS


async def test_a_part_and_what_lies_outside(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    file = await filed(server, room, ann, LETTERS)
    part = await ann.asks("GET", address(file), headers={"Range": "bytes=2-4"})
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, b"cde", "bytes 2-4/26")
    assert part.headers["Content-Length"] == "3"
    tail = await ann.asks("GET", address(file), headers={"Range": "bytes=-2", "If-Range": part.headers["ETag"]})
    assert (tail.status, tail.body) == (206, b"yz")
    outside = await ann.asks("GET", address(file), headers={"Range": "bytes=26-"})
    assert (outside.status, outside.code) == (416, "range_not_satisfiable")
    assert outside.headers["Content-Range"] == "bytes */26"


async def test_what_one_has_is_not_sent_again_and_what_one_expects_must_be_so(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    file = await filed(server, room, ann, LETTERS)
    first = await ann.asks("GET", address(file))
    again = await ann.asks("GET", address(file), headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"] and again.headers["Cache-Control"] == "private, no-cache"
    other = await ann.asks("GET", address(file), headers={"If-Match": '"other"'})
    assert (other.status, other.code) == (412, "precondition_failed")


async def test_an_empty_file_and_one_of_many_pieces_arrive_whole(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    empty = await ann.asks("GET", address(await filed(server, room, ann, b"")))
    assert (empty.status, empty.body, empty.headers["Content-Length"]) == (200, b"", "0")
    large = b"".join(number.to_bytes(4, "big") for number in range(300_000))
    file = await filed(server, room, ann, large)
    assert (await ann.asks("GET", address(file))).body == large
    part = await ann.asks("GET", address(file), headers={"Range": "bytes=262143-524290"})
    assert part.body == large[262143:524291]


async def test_the_preview_is_a_picture_and_other_files_have_none(serve: Serve) -> None:
    server, ann, bob, room = await opened(serve)
    image = await filed(server, room, ann, LETTERS, mime="image/png", inline=True, thumbnail=b"RIFF small")
    preview = await bob.asks("GET", f"/files/{image.id}/thumbnail")
    assert (preview.status, preview.body, preview.headers["Content-Type"]) == (200, b"RIFF small", "image/webp")
    assert preview.headers["Content-Disposition"].startswith("inline")
    assert {name: preview.headers[name] for name in SAFE} == SAFE
    whole = await bob.asks("GET", address(image))
    assert preview.headers["ETag"] != whole.headers["ETag"]
    plain = await filed(server, room, ann, LETTERS)
    refused = await bob.asks("GET", f"/files/{plain.id}/thumbnail")
    assert (refused.status, refused.code) == (404, "not_found")


async def test_the_name_in_the_address_is_for_people(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    file = await filed(server, room, ann, LETTERS)
    for name in ("other.exe", "%2e%2e", "..%2F..%2Fetc%2Fpasswd", "a%20b", ""):
        answer = await ann.asks("GET", f"/files/{file.id}/{name}")
        assert answer.status == 200 and answer.body == LETTERS, name
        assert 'filename="notes.txt"' in answer.headers["Content-Disposition"]


# Who may


async def test_a_foreign_file_looks_like_none(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    stranger, nobody = await server.person("eve"), server.stranger()
    file = await filed(server, room, ann, LETTERS, thumbnail=b"small")
    for path in (address(file), f"/files/{file.id}/thumbnail"):
        unknown = path.replace(file.id, "0" * 24)
        for person, status, code in ((stranger, 404, "not_found"), (nobody, 401, "unauthenticated")):
            seen = [await person.asks("GET", one, headers={"Range": "bytes=99-"}) for one in (path, unknown)]
            assert [(one.status, one.code) for one in seen] == [(status, code)] * 2
            assert seen[0].json["error"]["message"] == seen[1].json["error"]["message"]
            assert set(seen[0].headers) == set(seen[1].headers)
        head = await stranger.asks("HEAD", path)
        assert (head.status, head.body) == (404, b"")
    for odd in ("x" * 5000, "%00", "日记", "..", "a%2Fb"):
        assert (await stranger.asks("GET", f"/files/{odd}/x")).status in (400, 404)


async def test_a_token_in_the_address_is_no_credential_and_a_bad_one_is_refused(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    file = await filed(server, room, ann, LETTERS)
    assert (await server.stranger().asks("GET", f"{address(file)}?token={ann.token}")).status == 401
    answer = await server.stranger().asks("GET", address(file), headers={"Authorization": "Bearer x.y.z"})
    assert (answer.status, answer.code) == (401, "invalid_token")
    cookie = {"Cookie": f"heartlink_session={ann.token}"}
    assert (await server.stranger().asks("GET", address(file), headers=cookie)).body == LETTERS


async def test_guests_read_where_that_was_granted_to_anybody(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    file = await filed(server, room, ann, LETTERS)
    guest = server.stranger()
    assert (await guest.asks("GET", address(file))).status == 401
    assert (await ann.asks("PATCH", f"/api/rooms/{room}", {"guest_access": True})).status == 200
    assert (await guest.asks("GET", address(file))).body == LETTERS


async def test_one_who_was_removed_or_denied_gets_nothing_and_history_outlives_its_room(serve: Serve) -> None:
    server, ann, bob, room = await opened(serve)
    admin = await administrator(server, "admin")
    file = await filed(server, room, ann, LETTERS)
    tag = (await bob.asks("GET", address(file))).headers["ETag"]
    await grants(admin, "user", bob.id, "chat.read", scope=f"room:{room}", effect="deny")
    denied = await bob.asks("GET", address(file), headers={"If-None-Match": tag})
    assert (denied.status, denied.code) == (403, "forbidden") and denied.json["error"]["decision_id"]
    assert (await ann.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}")).status in (200, 204)
    assert (await bob.asks("GET", address(file))).status in (403, 404)
    assert (await ann.asks("DELETE", f"/api/rooms/{room}")).status in (200, 204)
    assert (await ann.asks("GET", address(file))).body == LETTERS


# Ends in the middle


class Reader:
    """A client that reads only what it is told to, through a small window."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.received = b""

    async def reads(self, size_bytes: int) -> None:
        """Read until so much has come."""
        loop = asyncio.get_running_loop()
        while len(self.received) < size_bytes:
            async with asyncio.timeout(PATIENCE_SECONDS):
                more = await loop.sock_recv(self._socket, 65536)
            assert more, "the connection ended"
            self.received += more

    async def reads_to_the_end(self) -> int:
        """Read what still comes; how much of the content came in all."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    more = await loop.sock_recv(self._socket, 1 << 20)
            except ConnectionResetError:
                break
            if not more:
                break
            self.received += more
        return len(self.received.partition(b"\r\n\r\n")[2])


@asynccontextmanager
async def slow_reader(person: Person, path: str) -> AsyncIterator[Reader]:
    """A download that has begun, and of which only the beginning is read."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", person.server.port))
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {person.token}\r\n\r\n"
        await loop.sock_sendall(sock, request.encode())
        reader = Reader(sock)
        await reader.reads(1000)
        yield reader


LARGE = 16 << 20
"""More than the kernel buffers on both sides of a connection."""


async def large_file(scene: Scene) -> StoredFile:
    return await filed(scene.server, scene.room, scene.ann, b"x" * LARGE)


async def test_a_revoked_reader_gets_no_more_from_the_turn_of_the_commit_on(serve: Serve) -> None:
    scene = await opened(serve)
    server, ann, bob, room = scene
    file = await large_file(scene)
    async with slow_reader(bob, address(file)) as reader:
        assert server.house.transfers.count(bob.user["id"], "download") == 1
        assert (await ann.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}")).status in (200, 204)
        assert server.house.transfers.count(bob.user["id"], "download") == 0
        assert f"Content-Length: {LARGE}".encode() in reader.received
        assert await reader.reads_to_the_end() < LARGE
    assert not len(server.house.transfers)


async def test_signing_out_ends_what_that_session_reads_and_no_other(serve: Serve) -> None:
    scene = await opened(serve)
    server, _, bob, _ = scene
    file = await large_file(scene)
    signed_in = await bob.asks("POST", "/api/auth/login", {"username": "bob", "password": PASSWORD})
    other = server.holding(signed_in.json)
    async with slow_reader(bob, address(file)) as ended, slow_reader(other, address(file)) as kept:
        assert (await bob.asks("POST", "/api/auth/logout")).status == 204
        assert await ended.reads_to_the_end() < LARGE
        assert server.house.transfers.count(bob.user["id"], "download") == 1
        await kept.reads(len(kept.received) + (256 << 10))
    await until(lambda: not len(server.house.transfers), PATIENCE_SECONDS)


async def test_a_message_that_is_deleted_takes_its_file_along_also_from_who_is_reading_it(serve: Serve) -> None:
    _, ann, bob, room = await opened(serve)
    path, plain = f"/api/rooms/{room}/files?name=large.bin", {"Content-Type": "application/octet-stream"}
    message = (await ann.asks("POST", path, b"x" * LARGE, headers=plain)).json
    async with slow_reader(bob, message["file_url"]) as reader:
        deleted = await ann.asks("DELETE", f"/api/rooms/{room}/messages/{message['id']}")
        assert deleted.status == 200 and deleted.json["file"] is None
        assert await reader.reads_to_the_end() < LARGE
    gone = await bob.asks("GET", message["file_url"])
    assert (gone.status, gone.code) == (404, "not_found")


async def test_a_token_that_runs_out_ends_its_download(serve: Serve) -> None:
    scene = await opened(serve)
    server, _, bob, _ = scene
    file = await large_file(scene)
    async with slow_reader(bob, address(file)) as reader:
        week_ms = 8 * 24 * 3_600_000
        server.house.auth._clock = lambda: server.house.clock() + week_ms
        assert await reader.reads_to_the_end() < LARGE


async def test_a_slow_reader_has_one_piece_wait_and_one_who_leaves_has_none(serve: Serve) -> None:
    scene = await opened(serve)
    server, _, bob, _ = scene
    file = await large_file(scene)
    pieces = 0
    read = server.house.files.read

    async def counted(blob: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        nonlocal pieces
        async for piece in read(blob, start, length):
            pieces += 1
            yield piece

    server.house.files.read = counted  # type: ignore[method-assign]
    async with slow_reader(bob, address(file)):
        # Others are served meanwhile, and what the slow one does not read is not fetched.
        assert (await bob.asks("GET", address(file), headers={"Range": "bytes=0-9"})).body == b"x" * 10
        assert pieces < LARGE // (256 << 10)
    await until(lambda: not len(server.house.transfers), PATIENCE_SECONDS)


async def test_bytes_that_are_gone_are_not_found_and_a_row_alone_is_no_file(serve: Serve) -> None:
    server, ann, _, room = await opened(serve)
    file = await filed(server, room, ann, LETTERS)
    await server.house.files.remove_bytes(file.blob)
    answer = await ann.asks("GET", address(file))
    assert (answer.status, answer.code) == (404, "not_found")
    assert "Content-Disposition" not in answer.headers
