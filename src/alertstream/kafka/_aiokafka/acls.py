"""Users' rights set as a list says, which aiokafka's admin client has only the requests for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, NamedTuple

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

KINDS = {"topic": 2, "group": 3, "transactional-id": 5}
"""What there are rights to, as Kafka numbers them (``ResourceType``)."""
OPERATIONS = {
    **{"all": 2, "read": 3, "write": 4, "create": 5, "delete": 6, "alter": 7, "describe": 8},
    **{"describe-configs": 10, "alter-configs": 11},
}
"""What a right allows, as Kafka numbers it (``AclOperation``)."""
_ANY, _LITERAL, _PREFIXED, _ALLOW = 1, 3, 4, 3
_KNOWN_AFTER = 0.05
"""Seconds from a change to the next look at whether the brokers know of it."""


class Acl(NamedTuple):
    """A right of a user, from whichever host.

    :param operation: one of ``OPERATIONS``.
    :param kind: one of ``KINDS``.
    :param name: what it is a right to; with ``*`` at its end, all whose names begin so.
    """

    user: str
    operation: str
    kind: str
    name: str

    @property
    def numbers(self) -> tuple[Any, ...]:
        """The right as Kafka's requests have it."""
        pattern = _PREFIXED if self.name.endswith("*") and self.name != "*" else _LITERAL
        name = self.name.removesuffix("*") or "*"
        user, operation = f"User:{self.user}", OPERATIONS[self.operation]
        return (KINDS[self.kind], name, pattern, user, "*", operation, _ALLOW)


async def converge(admin: AIOKafkaAdminClient, acls: Collection[Acl]) -> None:
    """Make these the only rights that there are, and return when a broker knows of them.

    :raises KafkaError: Kafka refuses.
    """
    wanted = {each.numbers for each in acls}
    everything = DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY)
    while True:
        answer = await admin._send_request(everything)
        _check(answer.error_code)
        known = {
            (kind, name, pattern, *rest)
            for kind, name, pattern, found in answer.resources
            for rest in found
        }
        if known == wanted:
            return
        for each in wanted - known:
            made = await admin._send_request(CreateAclsRequest(*each))
            _check(*(code for code, _ in made.creation_responses))
        for each in known - wanted:
            gone = await admin._send_request(DeleteAclsRequest(*each))
            _check(*(code for code, *_ in gone.filter_responses))
        await asyncio.sleep(_KNOWN_AFTER)


def _check(*codes: int) -> None:
    for code in codes:
        if code:
            raise kafka_errors.for_code(code)
