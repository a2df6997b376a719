"""Bad uploads as tables, through the real server: each row with its status and reason, or with how it is served."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.actors import Answer, Person, Server
from tests.conftest import Serve
from tests.enemies import (
    ARCHIVE,
    SCRIPT,
    chunk,
    gif,
    image,
    jpeg_of,
    jpeg_of_scans,
    noise,
    png,
    png_with,
    webp_of,
)
from tests.raw_request import RawRequest

pytestmark = pytest.mark.gen_test(timeout=120)

SAMPLES = Path(__file__).parent / "samples"
UNKNOWN = "application/octet-stream"


class Served(NamedTuple):
    """How a file is served that was taken in: as which message, under which type and name, without which bytes."""

    kind: str
    mime: str
    name: str | None = None
    without: tuple[bytes, ...] = ()

    @property
    def disposition(self) -> str:
        return "attachment" if self.mime in (UNKNOWN, "application/pdf", "application/zip") else "inline"


class Refused(NamedTuple):
    """Status, code, and a word of the reason."""

    status: int
    code: str
    word: str = ""


class File(NamedTuple):
    """A file that is uploaded under a name, perhaps with more parameters."""

    about: str
    name: str
    content: bytes
    expected: Served | Refused
    query: str = ""


FILE = Served("file", UNKNOWN)
PNG, GIF, JPEG = Served("image", "image/png"), Served("image", "image/gif"), Served("image", "image/jpeg")
TOO_LARGE = Refused(413, "too_large")
INVALID = Refused(400, "invalid_parameters")

ENDLESS = zlib.compress((b"\0" + b"\x80" * 30) * 10 + bytes(20_000_000))
NOTHING = zlib.compress(bytes(6_006_000))
PROFILE = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(5_000_000)))
TEXT = chunk(b"tEXt", b"Comment\0" + SCRIPT)


def named(name: str) -> Served:
    return FILE._replace(name=name)


def without(served: Served, *octets: bytes) -> Served:
    return served._replace(without=octets)


def about(refused: Refused, word: str) -> Refused:
    return refused._replace(word=word)


FILES = [
    # Names
    File("a path upwards", "../../etc/passwd", b"text", named("passwd")),
    File("a path of Windows", "C:\\Windows\\cmd.exe", b"MZ", named("cmd.exe")),
    File("a header in it", "a\r\nSet-Cookie: x=1\0.txt", b"text", named("a Set-Cookie_ x=1 .txt")),
    File("turned around", "photo\u202egpj.exe", b"MZ", named("photogpj.exe")),
    File("invisible letters", "re\u200bport\ufeff.pdf.exe", b"MZ", named("report.pdf.exe")),
    File("markup", "<img src=x onerror=alert(1)>.html", SCRIPT, named("_img src=x onerror=alert(1)_.html")),
    File("a device of Windows", "CON.txt", b"text", named("_CON.txt")),
    File("hidden", "...htaccess", b"text", named("htaccess")),
    File("the address of previews", "thumbnail", b"text", named("_thumbnail")),
    File("none", "", b"text", named("file")),
    File("too long", "n" * 900 + ".txt", b"text", named("n" * 116 + ".txt")),
    # What lies about its kind
    File("a page as an image", "cat.png", b"<!doctype html>" + SCRIPT, named("cat.png")),
    File("a drawing with a script", "logo.svg", b"<svg xmlns='http://www.w3.org/2000/svg'>" + SCRIPT + b"</svg>", FILE),
    File("XHTML", "a.xml", b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>" + SCRIPT, FILE),
    File("a program as a photograph", "photo.jpg", b"MZ\x90\0" + bytes(60), FILE),
    File("an archive as an image", "a.png", ARCHIVE, Served("file", "application/zip")),
    File("a document", "a.pdf", b"%PDF-1.7 /JavaScript", Served("file", "application/pdf")),
    File("an image as a page", "page.html", image("PNG"), PNG._replace(name="page.html")),
    File("a page as a voice", "v.webm", SCRIPT, FILE, "kind=voice&duration=3"),
    File("UTF-7", "a.txt", b"+ADw-script+AD4-alert(1)", FILE),
    File("Flash", "a.swf", b"FWS\x09" + bytes(60), FILE),
    File("a film that is not for every browser", "a.mp4", (SAMPLES / "film.mov").read_bytes(), FILE),
    File("magic that does not come first", "a.gif", b" " + image("GIF"), FILE),
    # Two kinds at once
    File("a program in the guise of a GIF", "a.gif", b"GIF89a/*" + bytes(8) + b"*/=1;alert(1)//;", FILE),
    File("a GIF with a program in a comment", "a.gif", image("GIF", comment=b"*/=1;" + SCRIPT), without(GIF, SCRIPT)),
    File("a GIF with an archive behind", "a.gif", image("GIF") + ARCHIVE, without(GIF, b"PK\x03\x04")),
    File("a JPEG with an archive behind", "a.jpg", image("JPEG") + ARCHIVE, without(JPEG, b"PK\x03\x04")),
    File("a JPEG with a page in a comment", "a.jpg", image("JPEG", comment=SCRIPT), without(JPEG, SCRIPT)),
    File("a PNG with a page in a text", "a.png", png_with(TEXT), without(PNG, SCRIPT)),
    File("a PNG with a page in a chunk of its own", "a.png", png_with(chunk(b"heRe", SCRIPT)), without(PNG, SCRIPT)),
    File("a PNG with a page behind", "a.png", image("PNG") + SCRIPT, without(PNG, SCRIPT)),
    File("a WebP that is a page", "a.webp", b"RIFF\x40\0\0\0WEBP" + SCRIPT + bytes(30), FILE),
    File("an MP3 that is a page", "a.mp3", b"ID3\x04\0\0\0\0\0\0" + SCRIPT * 9, FILE),
    File("a film that is a page", "a.mp4", b"\0\0\0\x18ftypmp42" + SCRIPT * 9, FILE),
    # Parts
    File("the first half of a JPEG", "a.jpg", noise("JPEG")[:5000], FILE),
    File("the first half of a PNG", "a.png", noise("PNG")[:5000], FILE),
    File("the head of a GIF", "a.gif", image("GIF")[:30], FILE),
    File("the head of a WebM", "a.webm", (SAMPLES / "film.webm").read_bytes()[:100], FILE),
    File("an MP4 without its tracks", "a.mp4", (SAMPLES / "turned.mp4").read_bytes()[:60], FILE),
    File("a WAV without sound", "a.wav", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", FILE),
    File("nothing", "a.txt", b"", FILE),
    # What unpacks to too much
    File("a PNG of 2,500 million pixels", "a.png", png(50_000, 50_000, NOTHING), about(TOO_LARGE, "50000 × 50000")),
    File("a thin PNG", "a.png", png(1, 40_000, b""), about(TOO_LARGE, "1 × 40000")),
    File("a PNG of nothing, packed", "a.png", png(8000, 6000, NOTHING, 1, 0), about(TOO_LARGE, "bytes")),
    File("a PNG whose stream goes on for ever", "a.png", png(10, 10, ENDLESS), PNG),
    File("a PNG whose colour profile does", "a.png", png_with(PROFILE), without(PNG, b"iCCP")),
    File("a JPEG of 4,294 million pixels", "a.jpg", jpeg_of(65_535, 65_535), about(TOO_LARGE, "65535 × 65535")),
    File("a JPEG of a thousand passes", "a.jpg", jpeg_of_scans(1000), about(TOO_LARGE, "scans")),
    File("a GIF of 100,000 frames", "a.gif", gif(100_000), about(TOO_LARGE, "frames")),
    File("a GIF of 4,294 million pixels", "a.gif", gif(1, 65_535, 65_535), about(TOO_LARGE, "65535 × 65535")),
    File("a GIF of many large frames", "a.gif", gif(300, 2000, 2000), about(TOO_LARGE, "frames")),
    File("a WebP of 268 million pixels", "a.webp", webp_of(b"\xff\xff\xff\x0f"), about(TOO_LARGE, "16384 × 16384")),
    # What is said of it
    File("less than no time", "v", b"x", about(INVALID, "duration"), "duration=-1"),
    File("no number of seconds", "v", b"x", about(INVALID, "duration"), "duration=nan"),
    File("louder than loud", "v", b"x", about(INVALID, "waveform"), "waveform=1,101"),
    File("a wave without end", "v", b"x", about(INVALID, "waveform"), "waveform=" + "1," * 64 + "1"),
    File("a reply to nothing", "v", b"x", about(INVALID, "reply_to"), "reply_to=soon"),
    File("a client_id without end", "v", b"x", about(INVALID, "client_id"), "client_id=" + "c" * 65),
]  # fmt: skip


async def uploads(person: Person, room: str, row: File) -> Answer:
    path = f"/api/rooms/{room}/files?name={quote(row.name, safe='')}&{row.query}"
    return await person.asks("POST", path, row.content, headers={"Content-Type": "application/octet-stream"})


async def faults_of(person: Person, row: File, answer: Answer) -> list[str]:
    """What is not as the row says."""
    if isinstance(row.expected, Refused):
        return differences(row.expected, answer)
    if answer.status != 201:
        return [f"201 expected, {answer}"]
    message, wanted = answer.json, row.expected
    got = await person.asks("GET", message["file_url"])
    name = message["file"]["name"]
    seen = {
        "message_type": (message["message_type"], wanted.kind),
        "mime": (message["file"]["mime"], wanted.mime),
        "Content-Type": (got.headers.get("Content-Type"), wanted.mime),
        "disposition": (got.headers.get("Content-Disposition", "").partition(";")[0], wanted.disposition),
        "nosniff": (got.headers.get("X-Content-Type-Options"), "nosniff"),
        "policy": (got.headers.get("Content-Security-Policy"), "default-src 'none'; sandbox"),
        "name": (name, name if wanted.name is None else wanted.name),
        "size": (message["file"]["size"], len(got.body)),
        "left": ([octets for octets in wanted.without if octets in got.body], []),
        "preview": ("thumbnail_url" in message["file"], wanted.kind == "image"),
    }
    return [f"{what}: {is_so!r}, not {should!r}" for what, (is_so, should) in seen.items() if is_so != should]


def differences(expected: Refused, answer: Answer | RawRequest) -> list[str]:
    """How an answer differs from a refusal with this status, code and word."""
    if answer.status != expected.status:
        return [f"{expected.status} expected, {answer.status} {answer.body[:300]!r}"]
    if not expected.code:
        return []
    error = answer.json["error"]
    if not {"code", "message", "fix"} <= set(error):
        return [f"no reason in {error}"]
    is_so = error["code"] == expected.code and expected.word in str(error)
    return [] if is_so else [f"{expected.code} with '{expected.word}' expected, {error}"]


def test_the_table_is_long_and_every_row_is_another() -> None:
    assert len(FILES) >= 50
    assert len({row.about for row in FILES}) == len(FILES)


async def test_bad_files_are_refused_with_a_reason_or_served_so_that_they_hurt_nobody(serve: Serve) -> None:
    server = await serve(messages_per_second=0, upload_bytes=4 << 20)
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    wrong: list[str] = []
    for row in FILES:
        wrong += [f"{row.about}: {fault}" for fault in await faults_of(ann, row, await uploads(ann, room, row))]
    assert not wrong, "\n".join(wrong)
    taken = [row for row in FILES if isinstance(row.expected, Served)]
    page = await ann.asks("GET", f"/api/rooms/{room}/messages?limit=200")
    assert len(page.json["messages"]) == len(taken)
    assert len(await server.house.files.all_after()) == len(taken)


# Requests that do not say the truth about themselves


class Stage(NamedTuple):
    """A server with small limits; Ann's room, an ended one, and Eve who is in none of them."""

    server: Server
    ann: Person
    eve: Person
    room: str
    ended: str


async def staged(serve: Serve) -> Stage:
    server = await serve(messages_per_second=0, upload_bytes=1000)
    ann, eve = await server.person("ann"), await server.person("eve")
    room, ended = await ann.opens(name="Tea"), await ann.opens(name="Over")
    assert (await ann.asks("DELETE", f"/api/rooms/{ended}")).status in (200, 204)
    return Stage(server, ann, eve, room, ended)


class Request(NamedTuple):
    """A request as it goes over the wire: headers besides those of who sends it, and the body, byte by byte."""

    about: str
    headers: dict[str, str]
    body: bytes
    expected: Refused
    room: str = "room"
    who: str = "ann"
    method: str = "POST"


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
A_FILE = b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ntext'
A_FIELD = b'Content-Disposition: form-data; name="content"\r\n\r\nhello'
BAD = Refused(400, "")
PIECE_OF_600 = b"258\r\n" + bytes(600) + b"\r\n"
LAST = b"0\r\n\r\n"
CHUNKED = {"Transfer-Encoding": "chunked"}
NO_BOUNDARY = {"Content-Type": "multipart/form-data"}


def lengthy(headers: dict[str, str], body: bytes) -> dict[str, str]:
    return {**headers, "Content-Length": str(len(body))}


REQUESTS = [
    Request("a length over the limit", {"Content-Length": "1001"}, b"", TOO_LARGE),
    Request("a length without end", {"Content-Length": "9" * 17}, b"", TOO_LARGE),
    Request("pieces over the limit", CHUNKED, 2 * PIECE_OF_600 + LAST, TOO_LARGE),
    Request("a form with a file over the limit", FORM, form(A_FILE + bytes(1000)), TOO_LARGE),
    Request("less than nothing", {"Content-Length": "-1"}, b"", BAD),
    Request("a length that is no number", {"Content-Length": "ten"}, b"0123456789", BAD),
    Request("a length in another script", {"Content-Length": "0x10"}, bytes(16), BAD),
    Request("a length and pieces", {"Content-Length": "4", **CHUNKED}, b"4\r\ntext\r\n0\r\n\r\n", BAD),
    Request("pieces in no known way", {"Transfer-Encoding": "gzip, chunked"}, b"4\r\ntext\r\n0\r\n\r\n", BAD),
    Request("a form without a file", FORM, form(A_FIELD), Refused(400, "missing_parameters", "file")),
    Request("a form that breaks off", FORM, form(A_FILE, end=b""), about(INVALID, "boundary")),
    Request("a form of two files", FORM, form(A_FILE, A_FILE), about(INVALID, "second")),
    Request("a form without a boundary", NO_BOUNDARY, form(A_FILE), about(INVALID, "boundary")),
    Request("a form that is none", FORM, b"text", Refused(400, "")),
    Request("a room that does not exist", {}, b"text", Refused(404, "not_found"), room="no-such-room"),
    Request("somebody else's room", {}, b"text", Refused(403, "forbidden"), who="eve"),
    Request("a room that was ended", {}, b"text", Refused(410, "ended"), room="ended"),
    Request("nobody", {"Authorization": ""}, b"text", Refused(401, "")),
    Request("a token that is none", {"Authorization": "Bearer x.y.z"}, b"text", Refused(401, "invalid_token")),
    Request("a method that is none", {}, b"text", Refused(405, "method_not_allowed"), method="PUT"),
]  # fmt: skip


async def sent(stage: Stage, row: Request) -> RawRequest:
    places = {"room": stage.room, "ended": stage.ended}
    path = f"/api/rooms/{places.get(row.room, row.room)}/files?name=a.txt"
    has_length = {"Content-Length", "Transfer-Encoding"} & set(row.headers)
    headers = row.headers if has_length else lengthy(row.headers, row.body)
    request = await RawRequest.begins(getattr(stage, row.who), row.method, path, headers)
    await request.sends(row.body)
    return request


async def test_requests_that_lie_about_themselves_are_answered_with_a_reason(serve: Serve) -> None:
    stage = await staged(serve)
    wrong: list[str] = []
    for row in REQUESTS:
        request = await sent(stage, row)
        await request.answered()
        wrong += [f"{row.about}: {fault}" for fault in differences(row.expected, request)]
        request.breaks_off()
    assert not wrong, "\n".join(wrong)
    assert (await stage.ann.asks("GET", f"/api/rooms/{stage.room}/messages")).json["messages"] == []
    assert await stage.server.house.files.all_after() == []
    # After all that the next one is served as if nothing had been.
    assert (await uploads(stage.ann, stage.room, FILES[0])).status == 201


async def test_one_that_breaks_off_leaves_nothing_and_one_that_goes_on_is_taken_at_its_word(serve: Serve) -> None:
    stage = await staged(serve)
    path = f"/api/rooms/{stage.room}/files?name=a.txt"
    short = await RawRequest.begins(stage.ann, "POST", path, {"Content-Length": "10"})
    await short.sends(b"012345")
    short.breaks_off()
    long = await RawRequest.begins(stage.ann, "POST", path, {"Content-Length": "4"})
    await long.sends(b"textGET /api/me HTTP/9.9\r\n\r\n")
    assert await long.answered() == 201
    # What follows is no request, and is not answered as one.
    await long.is_closed()
    messages = (await stage.ann.asks("GET", f"/api/rooms/{stage.room}/messages")).json["messages"]
    assert [message["file"]["size"] for message in messages] == [4]


# Uploads that can be gone on with

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {"Content-Type": "application/offset+octet-stream"}


def metadata(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


class Step(NamedTuple):
    """A request of tus; ``{room}``, ``{mine}``, ``{foreign}`` and ``{done}`` stand for ids."""

    about: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    expected: Refused


def patch(about: str, expected: Refused, body: bytes = b"x", path: str = "{mine}", **headers: str) -> Step:
    sent = {**TUS, **PIECE, "Upload-Offset": "0", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Step(
        about, "PATCH", f"/api/uploads/{path}", {name: value for name, value in sent.items() if value}, body, expected
    )


def creation(about: str, expected: Refused, said: str = "", **headers: str) -> Step:
    sent = {
        **TUS,
        "Upload-Length": "10",
        "Upload-Metadata": said,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Step(about, "POST", "/api/uploads/", {name: value for name, value in sent.items() if value}, b"", expected)


STEPS = [
    creation("without a version", Refused(412, "unknown_version"), "{to_room}", Tus_Resumable=""),
    creation("another version", Refused(412, "unknown_version"), "{to_room}", Tus_Resumable="0.2.2"),
    creation("without a length", about(INVALID, "Upload-Length"), "{to_room}", Upload_Length=""),
    creation("one to come", INVALID, "{to_room}", Upload_Length="", Upload_Defer_Length="1"),
    creation("less than nothing", INVALID, "{to_room}", Upload_Length="-5"),
    creation("a length without end", INVALID, "{to_room}", Upload_Length="9" * 30),
    creation("too long", TOO_LARGE, "{to_room}", Upload_Length="1001"),
    creation("without a room", Refused(400, "missing_parameters", "room")),
    creation("metadata that are none", INVALID, "room ***"),
    creation("a room that does not exist", Refused(404, "not_found"), metadata(room="no-such-room")),
    creation("somebody else's room", Refused(403, "forbidden"), "{to_foreign}"),
    creation("a room that was ended", Refused(410, "ended"), "{to_ended}"),
    patch("in the middle of nowhere", Refused(409, "conflict"), Upload_Offset="5"),
    patch("before the beginning", INVALID, Upload_Offset="-1"),
    patch("nowhere", about(INVALID, "Upload-Offset"), Upload_Offset=""),
    patch("without a version of its own", Refused(412, "unknown_version"), Tus_Resumable=""),
    patch("as something else", Refused(415, "unsupported_media_type"), Content_Type="text/plain"),
    patch("more than it was to be", TOO_LARGE, bytes(11)),
    patch("an upload that does not exist", Refused(404, "not_found"), path="0" * 32),
    patch("a path for an id", Refused(404, "not_found"), path="..%2F..%2Fheartlink.db"),
    patch("somebody else's upload", Refused(404, "not_found"), path="{foreign}"),
    patch("one that is over", Refused(409, ""), path="{done}"),
    Step("a look at somebody else's", "HEAD", "/api/uploads/{foreign}", TUS, b"", Refused(404, "")),
    Step("an end to somebody else's", "DELETE", "/api/uploads/{foreign}", TUS, b"", Refused(404, "not_found")),
    Step("a method that is none", "GET", "/api/uploads/{mine}", TUS, b"", Refused(405, "method_not_allowed")),
]  # fmt: skip


async def created(person: Person, room: str, length: int, body: bytes = b"") -> str:
    said = {**TUS, **PIECE, "Upload-Length": str(length), "Upload-Metadata": metadata(room=room, filename="a.txt")}
    answer = await person.asks("POST", "/api/uploads/", body, headers=said)
    assert answer.status == 201, answer
    return str(answer.headers["Location"]).rpartition("/")[2]


async def test_every_misuse_of_tus_is_answered_with_a_reason_and_moves_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    stage = await staged(serve)
    foreign_room = await stage.eve.opens(name="Hers")
    words: dict[str, Any] = {
        "mine": await created(stage.ann, stage.room, 10),
        "foreign": await created(stage.eve, foreign_room, 10, b"abc"),
        "done": await created(stage.ann, stage.room, 4, b"text"),
        "to_room": metadata(room=stage.room),
        "to_foreign": metadata(room=foreign_room),
        "to_ended": metadata(room=stage.ended),
    }
    wrong: list[str] = []
    for row in STEPS:
        headers = {name: value.format(**words) for name, value in row.headers.items()}
        answer = await stage.ann.asks(row.method, row.path.format(**words), row.body, headers=headers)
        wrong += [f"{row.about}: {fault}" for fault in differences(row.expected, answer)]
    assert not wrong, "\n".join(wrong)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    for person, upload, offset in ((stage.ann, "mine", "0"), (stage.eve, "foreign", "3"), (stage.ann, "done", "4")):
        head = await person.asks("HEAD", f"/api/uploads/{words[upload]}", headers=TUS)
        assert (head.status, head.headers["Upload-Offset"]) == (200, offset), upload
    messages = (await stage.ann.asks("GET", f"/api/rooms/{stage.room}/messages")).json["messages"]
    assert [message["file"]["size"] for message in messages] == [4]


# Files on their way out: other people's, and what addresses can be made to say

ADDRESSES = [
    # address, what Ann gets whose file it is, Eve who is not in the room, nobody
    ("/files/{id}/a.txt", (200, 404, 401)),
    ("/files/{id}/thumbnail", (404, 404, 401)),
    ("/files/{id}/%2e%2e%2f%2e%2e%2fetc%2fpasswd", (200, 404, 401)),
    ("/files/{id}/", (200, 404, 401)),
    ("/files/{other}/a.txt", (404, 404, 401)),
    ("/files/{upper}/a.txt", (404, 404, 401)),
    ("/files/{id}%00/a.txt", (404, 404, 401)),
    ("/files/{id}%2e/a.txt", (404, 404, 401)),
    ("/files/..%2f{id}/a.txt", (404, 404, 401)),
    ("/files/%e6%97%a5/a.txt", (404, 404, 401)),
]


async def test_addresses_of_files_say_the_same_of_foreign_ones_and_of_none(serve: Serve) -> None:
    stage = await staged(serve)
    answer = await uploads(stage.ann, stage.room, File("", "a.txt", b"text", FILE))
    file_id = answer.json["file"]["id"]
    words = {"id": file_id, "other": file_id[::-1], "upper": file_id.upper() + "A"}
    wrong: list[str] = []
    for address, expected in ADDRESSES:
        path = address.format(**words)
        for person, status in zip((stage.ann, stage.eve, stage.server.stranger()), expected, strict=True):
            got = await person.asks("GET", path)
            if got.status != status or (status == 200 and got.body != b"text"):
                wrong.append(f"{path}: {status} expected, {got}")
    assert not wrong, "\n".join(wrong)
