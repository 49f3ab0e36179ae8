"""How a group shares partitions: among members that do the same work, and new ones as well."""

from __future__ import annotations

from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor


def assignor(work: str) -> type[RoundRobinPartitionAssignor]:
    """Return what assigns partitions to members that do the same work: it names their protocol.

    Kafka refuses a member that has no protocol in common with all others.
    """
    name = f"{RoundRobinPartitionAssignor.name}-{work}".removesuffix("-")
    return type(name, (RoundRobinPartitionAssignor,), {"name": name})


class KafkaCoordinator(GroupCoordinator):  # type: ignore[misc]
    """Looks for new partitions in any member, not in the leader only.

    A static member that comes back after a crash is not told that it leads. Kafka assigns
    partitions anew when the leader joins again, and lets others join with what they have.
    """

    _group_subscription: Any

    async def _on_join_complete(self, *args: Any) -> None:
        await super()._on_join_complete(*args)
        subscription = self._subscription.subscription
        if self._group_subscription is None and subscription is not None:
            self._group_subscription = set(subscription.topics)
            self._metadata_snapshot = self._get_metadata_snapshot()
