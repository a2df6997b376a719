"""The aiohttp peer: rooms in memory, JSON decoded once and encoded once a message, nothing stored.

usage: python aiohttp_app.py PORT
"""

# This file runs in the peers' own environment, where HeartLink's is not installed.
# mypy: ignore-errors

import json
import sys
from collections import defaultdict
from datetime import UTC, datetime

from aiohttp import WSMsgType, web

ROOMS = web.AppKey("rooms", defaultdict)


async def chat(request: web.Request) -> web.WebSocketResponse:
    """One member of the room that the path names."""
    socket = web.WebSocketResponse(compress=False, autoping=True)
    await socket.prepare(request)
    room_id = request.match_info["room_id"]
    members = request.app[ROOMS][room_id]
    members.add(socket)
    try:
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                await broadcast(room_id, members, json.loads(frame.data))
    finally:
        members.discard(socket)
    return socket


async def broadcast(room_id: str, members: set, command: dict) -> None:
    """Send one message to every member, the sender included."""
    text = json.dumps(
        {
            "type": "chat_message",
            "message": {
                "id": command["client_id"],
                "room_id": room_id,
                "sender": "user",
                "content": command["content"],
                "message_type": "text",
                "reply_to": None,
                "reactions": {},
                "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            },
        }
    )
    for member in list(members):
        if not member.closed:
            await member.send_str(text)


def main() -> None:
    """Serve on the port given until the process is told to stop."""
    app = web.Application()
    app[ROOMS] = defaultdict(set)
    app.router.add_get("/ws/chat/{room_id}/", chat)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


main()
