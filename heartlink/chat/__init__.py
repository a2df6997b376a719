"""What people do in rooms: talk, come and go, invite, look back (PROTOCOL 3)."""

from heartlink.chat.around import Around
from heartlink.chat.arrivals import Arrivals, Resume
from heartlink.chat.fence import Fence
from heartlink.chat.invites import Invites
from heartlink.chat.live import LiveRoom, LiveRooms, Peer
from heartlink.chat.membership import Membership
from heartlink.chat.moderation import Moderation, Restriction
from heartlink.chat.search import Query, Search, SearchPage
from heartlink.chat.talk import Talk, publish
from heartlink.chat.views import HistoryPage, RoomList, RoomView, Views

__all__ = [
    "Around",
    "Arrivals",
    "Fence",
    "HistoryPage",
    "Invites",
    "LiveRoom",
    "LiveRooms",
    "Membership",
    "Moderation",
    "Peer",
    "Query",
    "Restriction",
    "Resume",
    "RoomList",
    "RoomView",
    "Search",
    "SearchPage",
    "Talk",
    "Views",
    "publish",
]
