"""The account of a rehearsal finds what is wrong."""

from __future__ import annotations

from collections import Counter

from deploy.rehearsal.account import Account, Arrival, Arrivals, Row

from alertstream.kafka.connection import Connection
from alertstream.kafka.messages import ORIGIN


def arrival(offset: int, value: str = "a", origin: tuple[int, int] | None = None) -> Arrival:
    partition, at = origin or (0, 0)
    header = f'{{"partition": {partition}, "offset": {at}}}'.encode()
    return Arrival(0, None, value, ((ORIGIN, header),) if origin else (), 0, offset)


def wrong(central: list[Arrival], passed: list[Arrival], partner: list[Arrival]) -> list[str]:
    """What an account finds wrong; right are one alert, which passes one filter, and copies."""
    connection = Connection("127.0.0.1:1")
    account = Account(
        sent=Counter(["a"]),
        passed={"Filter001": 1},
        saved={},
        central=Arrivals(connection),
        partner=Arrivals(connection),
        acknowledged=1,
        seen=1,
    )
    account.central.messages |= {"alerts": central, "Filter001": passed}
    account.partner.messages |= {"alerts": partner, "Filter001": passed}
    return [row.what for row in account.rows() if not row.right]


def test_an_account_finds_what_is_missing_doubled_or_altered() -> None:
    alert, copy = [arrival(0)], [arrival(0, origin=(0, 0))]
    assert wrong(alert, copy, alert) == []
    assert wrong(alert, copy, [arrival(5)]) == [], "offsets may differ"
    order = "topics in order at the partner"
    assert wrong(alert, copy, []) == ["at the partner", order]
    assert wrong(alert, copy, [*alert, arrival(1)]) == ["at the partner", order]
    filtered = "on the hubs, 1 filters"
    assert wrong(alert, [], alert) == [filtered]
    assert wrong(alert, [*copy, arrival(1, origin=(0, 0))], alert) == [filtered]
    assert wrong(alert, [arrival(0, "b", origin=(0, 0))], alert) == [filtered]
    assert "on the hubs" in wrong([arrival(0, "b")], copy, [arrival(0, "b")])


def test_a_row_counts_what_is_missing_and_what_is_too_many() -> None:
    row = Row.compare("", Counter("aab"), Counter("abbc"))
    assert (row.expected, row.once, row.too_many, row.right) == (3, 2, 2, False)
