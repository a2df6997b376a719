"""What the load generator does to every server alike."""

from dataclasses import dataclass, replace

CONTENT_BYTES = 100


@dataclass(frozen=True)
class Workload:
    """One shape of load; `window` messages are under way in each room, sent in turns by `senders` of it."""

    name: str
    meaning: str
    rooms: int
    connections_per_room: int
    senders: int = 1
    window: int = 1
    warm_connections: int = 0

    @property
    def idle(self) -> bool:
        """Whether connections are only opened and held."""
        return self.warm_connections > 0


IDLE = Workload("idle", "5,000 idle connections in 250 rooms", 250, 20, warm_connections=20)
W1 = Workload("W1", "one room of 1,000 connections, 64 messages under way", 1, 1000, senders=64, window=64)
W1C = Workload("W1c", "one room of 1,000 connections, one message under way", 1, 1000, senders=64)
W2 = Workload("W2", "250 rooms of two connections, one message under way in each", 250, 2, senders=2)

WORKLOADS = {workload.name: workload for workload in (IDLE, W1, W1C, W2)}


def shortened(workload: Workload) -> Workload:
    """The workload as `--quick` runs it: fewer idle connections, everything else the same."""
    if not workload.idle:
        return workload
    return replace(workload, meaning="2,000 idle connections in 250 rooms", connections_per_room=8)
