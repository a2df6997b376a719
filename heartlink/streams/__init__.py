"""Everybody's personal stream: rights, menus and notifications as they change (PROTOCOL 4)."""

from heartlink.streams.peer import StreamPeer, Subscription
from heartlink.streams.pushes import frames_of_step, permission_view, permission_views
from heartlink.streams.questions import Questions
from heartlink.streams.streams import Resume, Streams
from heartlink.streams.unread import UnreadHints

__all__ = [
    "Questions",
    "Resume",
    "StreamPeer",
    "Streams",
    "Subscription",
    "UnreadHints",
    "frames_of_step",
    "permission_view",
    "permission_views",
]
