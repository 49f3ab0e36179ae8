"""Partitions shared among the members of a group that do the same work."""

from __future__ import annotations

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor


def assignor(work: str) -> type[RoundRobinPartitionAssignor]:
    """Return what assigns partitions to members that do the same work: it names their protocol.

    Kafka refuses a member that has no protocol in common with all others.
    """
    name = f"{RoundRobinPartitionAssignor.name}-{work}".removesuffix("-")
    return type(name, (RoundRobinPartitionAssignor,), {"name": name})
