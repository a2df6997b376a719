"""JSON becomes types and types become JSON: every command both ways, what errors say, times (PROTOCOL 1, 2.4)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartlink.errors import Refusal, forbidden, rate_limited, unfit
from heartlink.model import Message, UserId
from heartlink.protocol import (
    CHAT_COMMANDS,
    CHAT_EVENTS,
    MAX_INTEGER,
    PERMISSION_COMMANDS,
    PERMISSION_EVENTS,
    BadFrame,
    Command,
    SendMessage,
    encode,
    error_frame,
    iso,
    message_frame,
    message_view,
)
from heartlink.protocol.codec import CommandReader

CHAT = CommandReader(CHAT_COMMANDS, default=SendMessage)
PERMISSIONS = CommandReader(PERMISSION_COMMANDS)

FULL: dict[str, list[dict[str, Any]]] = {
    "message": [
        {"content": "hi", "message_type": "text", "client_id": "c", "reply_to": 3, "file_id": None},
        {"content": "字 😀 \x00 \u2028"},
    ],
    "edit_message": [{"id": MAX_INTEGER, "content": ""}],
    "delete_message": [{"id": 1}],
    "react": [{"id": 1, "emoji": "❤️", "on": False}, {"id": 1, "emoji": "x" * 64}],
    "listened": [{"id": 4}],
    "typing": [{"is_typing": True, "what": "voice"}, {"is_typing": False}],
    "read_status": [{"message_ids": [1, 2], "up_to": 0}, {}],
    "online_status": [{"status": status} for status in ("online", "busy", "away", "offline")],
    "new_message": [{"message_id": 7}, {"message_id": "old"}],
    "heartbeat": [{}],
    "heartbeat_ack": [{}],
    "ping": [{"timestamp": {"any": [1, None, "thing"]}}, {}],
    "reauth": [{"token": ""}],
    "video_call_invite": [{"message": "茶?", "media": "audio"}, {}],
    "video_call_status": [
        {"status": "joined", "call_id": "c", "message_id": 3, "video_room_id": "old"},
        *({"status": status} for status in ("declined", "left", "expired", "ended")),
    ],
    "call_signal": [
        {"call_id": "c", "to": "u", "kind": kind, "data": data}
        for kind, data in (("offer", {"sdp": ""}), ("answer", []), ("candidate", None), ("state", {"audio": True}))
    ],
    "video_offer": [{}],
    "video_answer": [{}],
    "ice_candidate": [{}],
    "video_call_end": [{}],
}
"""Every command of a chat, with every field at least once."""


@pytest.mark.parametrize("kind", CHAT_COMMANDS, ids=lambda kind: kind.__name__)
def test_every_command_is_read_as_it_was_sent(kind: type[Command]) -> None:
    name = str(kind.__struct_config__.tag)
    seen: set[str] = set()
    for fields in FULL[name]:
        for ref in ({}, {"ref": "r" * 64}):
            frame = {"type": name, **fields, **ref, "unknown": {"is": "ignored"}}
            command = CHAT.decode(json.dumps(frame).encode())
            assert type(command) is kind
            found = msgspec.to_builtins(command)
            assert {key: found[key] for key in frame if key != "unknown"} == {
                key: value for key, value in frame.items() if key != "unknown"
            }
            seen |= {*fields, *ref}
    assert seen == {field.name for field in msgspec.structs.fields(kind)}, "a field is not tried"


def test_every_command_of_the_other_socket_has_a_type_of_its_own() -> None:
    for commands in (CHAT_COMMANDS, PERMISSION_COMMANDS):
        names = [kind.__struct_config__.tag for kind in commands]
        assert len(set(names)) == len(names) and all(isinstance(name, str) for name in names)
    for events in (CHAT_EVENTS, PERMISSION_EVENTS):
        names = [kind.__struct_config__.tag for kind in events]
        assert len(set(names)) == len(names)


def refusal_of(reader: CommandReader, text: str | bytes) -> BadFrame:
    with pytest.raises(BadFrame) as caught:
        reader.decode(text.encode() if isinstance(text, str) else text)
    return caught.value


def test_what_is_missing_or_wrong_is_named() -> None:
    missing = refusal_of(CHAT, '{"type":"edit_message","id":1,"ref":"r"}')
    assert (missing.refusal.code, missing.refusal.fields, missing.echo.ref) == (
        "missing_parameters",
        {"content": "missing"},
        "r",
    )
    assert "'content'" in missing.refusal.message and "'edit_message'" in missing.refusal.message
    wrong = refusal_of(CHAT, '{"content":"x","reply_to":"3","client_id":"c"}')
    assert (wrong.refusal.code, list(wrong.refusal.fields or ()), wrong.echo.client_id) == (
        "invalid_parameters",
        ["reply_to"],
        "c",
    )
    inside = refusal_of(CHAT, '{"type":"read_status","message_ids":[1,"2"]}')
    assert list(inside.refusal.fields or ()) == ["message_ids[...]"] or "message_ids" in str(inside.refusal.fields)
    without_type = refusal_of(PERMISSIONS, "{}")
    assert without_type.refusal.code == "missing_parameters" and "'type'" in without_type.refusal.message


@given(text=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_do_more_than_be_refused(text: bytes) -> None:
    try:
        CHAT.decode(text)
    except BadFrame as bad:
        assert bad.refusal.code in ("invalid_json", "invalid_parameters", "missing_parameters", "unknown_message_type")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELD_NAMES = [
    "ref",
    "client_id",
    "content",
    "id",
    "emoji",
    "on",
    "is_typing",
    "up_to",
    "status",
    "message_ids",
    "token",
]


@given(
    name=st.sampled_from([str(kind.__struct_config__.tag) for kind in CHAT_COMMANDS]),
    fields=st.dictionaries(st.sampled_from(FIELD_NAMES), JSON_VALUES, max_size=4),
)
def test_no_object_does_more_than_be_read_or_refused(name: str, fields: dict[str, Any]) -> None:
    try:
        command = CHAT.decode(json.dumps({"type": name, **fields}).encode())
    except BadFrame as bad:
        assert bad.refusal.message and bad.refusal.fix
        repeated = fields.get("ref")
        assert bad.echo.ref in (None, repeated)
    else:
        assert command.__struct_config__.tag == name


def test_an_error_says_what_was_wrong_and_what_to_do() -> None:
    frame = json.loads(encode(error_frame(rate_limited(1.5), 0, "r", "c")))
    assert frame == {
        "type": "error",
        "error_code": "rate_limited",
        "message": frame["message"],
        "fix": frame["fix"],
        "timestamp": "1970-01-01T00:00:00.000Z",
        "ref": "r",
        "client_id": "c",
        "retry_after": 1.5,
        "decision_id": None,
        "fields": None,
    }
    assert json.loads(encode(error_frame(forbidden("chat.send", "room:x", "d1"), 0)))["decision_id"] == "d1"
    assert json.loads(encode(error_frame(unfit("id", "it is odd"), 0)))["fields"] == {"id": "it is odd"}
    assert isinstance(rate_limited(1), Refusal) and str(rate_limited(1)).startswith("rate_limited")


MESSAGE = Message(
    id=1,
    seq=2,
    rev=2,
    client_id='quote " and \\',
    room_id="茶",
    sender="ann",
    sender_id=UserId("a"),
    sender_name="Ann 安",
    sender_avatar="",
    content='}{"type":"error"} 😀 \x00',
    message_type="text",
    created_at="",
)


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("change", [None, "edited"])
@pytest.mark.parametrize("ref", [None, 'r " \\ 茶'])
@pytest.mark.parametrize("duplicate", [True, False])
def test_a_stored_message_is_joined_into_its_frames(
    is_own: bool, is_read: bool, change: str | None, ref: str | None, duplicate: bool
) -> None:
    body = encode(MESSAGE)
    shown = {**json.loads(body), "is_own": is_own, "is_read": is_read}
    assert json.loads(message_view(body, is_own=is_own, is_read=is_read)) == shown
    text = message_frame(body, change=change, is_own=is_own, is_read=is_read, duplicate=duplicate, ref=ref)
    expected: dict[str, Any] = {"type": "message_updated" if change else "chat_message", "message": shown}
    expected |= {"change": change} if change else {}
    expected |= {"duplicate": True} if duplicate else {}
    expected |= {"ref": ref} if ref is not None else {}
    assert json.loads(text) == expected
    assert "茶".encode() in text and "😀".encode() in text, "non-ASCII is sent as itself"


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(time_ms: int, text: str) -> None:
    assert iso(time_ms) == text
