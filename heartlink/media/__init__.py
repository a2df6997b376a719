"""What a file really is, by its bytes: kind, size, duration, previews, and what must not be passed on."""

from heartlink.media.claims import read_duration, read_waveform
from heartlink.media.facts import THUMBNAIL_TYPE, UNKNOWN_TYPE, MediaFacts, MediaKind
from heartlink.media.inspector import Inspector
from heartlink.media.kinds import INLINE, PLAYED
from heartlink.media.names import clean_name

__all__ = [
    "INLINE",
    "PLAYED",
    "THUMBNAIL_TYPE",
    "UNKNOWN_TYPE",
    "Inspector",
    "MediaFacts",
    "MediaKind",
    "clean_name",
    "read_duration",
    "read_waveform",
]
