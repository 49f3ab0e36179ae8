"""A connection that is lost and restored."""

from __future__ import annotations

import asyncio

import pytest

from alertstream.kafka import reconnection
from alertstream.kafka.reconnection import LOST, RESTORED, connection_reports


def test_loss_and_return_are_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnection, "LOOK_INTERVAL", 0.001)
    monkeypatch.setattr(reconnection, "LOST_AFTER", 0.05)
    state = {"connected": True}
    told: list[str | bool] = []

    async def main() -> None:
        async with connection_reports(lambda: state["connected"], told.append, told.append):
            for connected, seconds in ((True, 0.1), (False, 0.3), (True, 0.1)):
                state["connected"] = connected
                await asyncio.sleep(seconds)
        state["connected"] = False
        await asyncio.sleep(0.1)

    asyncio.run(main())
    assert told == [False, LOST, True, RESTORED]
