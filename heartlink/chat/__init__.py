"""What people do in rooms: talk, come and go, invite, look back (PROTOCOL 3)."""

from heartlink.chat.around import Around
from heartlink.chat.arrivals import Arrivals, Resume
from heartlink.chat.fence import Fence
from heartlink.chat.invites import Invites
from heartlink.chat.keeping import FILE_TYPES, FileKeeper, Said, new_file_id
from heartlink.chat.live import LiveRoom, LiveRooms, Peer
from heartlink.chat.membership import Membership
from heartlink.chat.moderation import Moderation, Restriction
from heartlink.chat.publishing import publish
from heartlink.chat.search import Query, Search, SearchPage
from heartlink.chat.talk import Talk
from heartlink.chat.views import HistoryPage, RoomList, RoomView, Views

__all__ = [
    "FILE_TYPES",
    "Around",
    "Arrivals",
    "Fence",
    "FileKeeper",
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
    "Said",
    "Search",
    "SearchPage",
    "Talk",
    "Views",
    "new_file_id",
    "publish",
]
