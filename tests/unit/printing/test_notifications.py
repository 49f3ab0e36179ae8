"""What is told of alerts, when, how often, and what is not: messages, bundles, retries, secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.images import fits_file
from tests.support.samples import body_of, sample_alert

from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.errors import UsageError
from alertstream.filtering.expression import WhereFilter
from alertstream.filtering.selection import Selection
from alertstream.kafka.messages import MATCH, Offsets
from alertstream.kafka.messages import Message as KafkaMessage
from alertstream.printing.account import ReadingAccount
from alertstream.printing.notifications import notifier as notifier_module
from alertstream.printing.notifications.bundling import MAX_LISTED, Bundle, Bundler
from alertstream.printing.notifications.command import Command
from alertstream.printing.notifications.message import Composer, Message, _Template
from alertstream.printing.notifications.notifier import Notifier
from alertstream.printing.notifications.services import Service
from alertstream.reading.decoder import ReceivedAlert
from alertstream.reading.histogram import Histogram
from alertstream.system import cancellation


def message(offset: int, *headers: tuple[str, bytes], **source: Any) -> KafkaMessage:
    """An alert of schema 10.0 with these values in its diaSource."""
    alert = sample_alert("10.0")
    alert["diaSource"] = alert["diaSource"] | source
    value = pack(1000, body_of(alert, "10.0"))
    return KafkaMessage("alerts", 0, offset, 1_000, None, value, headers)


def alert(*headers: tuple[str, bytes], **fields: Any) -> ReceivedAlert:
    whole = {"diaSource": {"ra": 10.68, "dec": 41.27, "diaSourceId": 7} | fields}
    return ReceivedAlert(whole, KafkaMessage("alerts", 0, 5, 0, None, None, headers))


def numbered(first: int, last: int) -> list[KafkaMessage]:
    return [message(number, diaSourceId=number) for number in range(first, last)]


# Bundles


def test_the_first_is_told_at_once_and_then_what_has_come_together() -> None:
    bundler = Bundler(6.0)
    assert not bundler.is_due(0)
    bundler.add(alert())
    assert bundler.is_due(0)
    assert bundler.take(0).count == 1
    for _ in range(10_000):
        bundler.add(alert())
    assert not bundler.is_due(5.9)
    assert bundler.is_due(6)
    bundle = bundler.take(6)
    assert (len(bundle.listed), bundle.count) == (MAX_LISTED, 10_000)
    assert not bundler.is_due(99)
    bundler.add(alert())
    assert bundler.is_due(99)


# Messages


def test_a_message_says_what_and_where_and_what_it_matched() -> None:
    matched = [
        {"in": "targets.csv", "target": "M31", "separation": 0.42},
        {"in": "bayestar.fits", "probability": 0.63},
        {"in": "region.fits"},
    ]
    one = alert((MATCH, json.dumps(matched).encode()), psfFlux=36307.8, psfFluxErr=100, snr=36.3)
    one["diaSource"]["band"] = "r"
    told = Composer("alerts", pictures=False).message(Bundle([one], 1))
    assert told.title == "M31: r 20.000 ± 0.003 mag"
    assert told.picture is None
    first, second, third, fourth, *rest = told.text.split("\n")
    assert (first, second) == ("M31", "7")
    assert third.startswith("r 20.000 ± 0.003 mag, SNR 36.3, ")
    assert fourth == "00:42:43.200 +41:16:12.00 = 10.68000 +41.27000 deg (RA, Dec, ICRS)"
    text = "\n".join(rest)
    for each in ("M31", "0.42 arcsec", "targets.csv", "bayestar.fits", "region.fits"):
        assert each in text
    assert "AladinLite/?target=10.680000%20%2B41.270000" in text
    assert "simbad/sim-coo?Coord=10.680000%20%2B41.270000" in text


def test_a_header_that_is_not_valid_says_nothing() -> None:
    for content in (b"", b"{", b"[1]", b"{}", b"[" * 100_000, b'[{"in": {}, "separation": "x"}]'):
        assert Composer("alerts", pictures=False).message(Bundle([alert((MATCH, content))], 1)).text


def test_a_digest_lists_the_first_and_counts_the_rest() -> None:
    listed = [alert(diaSourceId=number + 1) for number in range(MAX_LISTED)]
    told = Composer("alerts", pictures=False).message(Bundle(listed, 2_350))
    assert told.title == "2,350 alerts in alerts"
    blocks = told.text.split("\n\n")
    assert blocks[0] == "2,350 alerts in alerts, the first 10:"
    assert [each.split("\n")[0] for each in blocks[1:-1]] == [str(n + 1) for n in range(MAX_LISTED)]
    assert blocks[-1] == "and 2,340 more"


def test_what_an_alert_holds_commands_nothing() -> None:
    one = alert()
    one["mpc_orbits"] = {"unpacked_primary_provisional_designation": "a\x1b[31m\nb"}
    one["diaSource"]["band"] = "\x1b]0;x\x07"
    told = Composer("alerts", pictures=False).message(Bundle([one], 1))
    assert "\x1b" not in told.text + told.title
    assert "\x07" not in told.text + told.title


def test_an_alert_of_odd_types_is_told_by_its_place() -> None:
    odd = alert(snr="x", ra="y")
    told = Composer("alerts", pictures=False).message(Bundle([alert(), odd], 2))
    assert "alerts[0]@5: fields of unexpected types" in told.text
    assert told.text.split("\n\n")[1].startswith("7\n")


def test_pictures_are_below_each_other() -> None:
    fits = fits_file(np.arange(441.0).reshape(21, 21))
    whole = {"diaSource": {"ra": 10.0, "dec": 2.0}, "cutoutScience": fits}
    place = KafkaMessage("alerts", 0, 5, 0, None, None)
    alerts = [ReceivedAlert(whole, place), alert(), ReceivedAlert(whole, place)]
    composer = Composer("alerts")
    both, one = composer.picture(alerts), composer.picture(alerts[:1])
    assert both is not None
    assert one is not None
    two = Image.open(io.BytesIO(both))
    size = Image.open(io.BytesIO(one)).size
    assert two.size == (size[0], 2 * size[1])
    assert composer.picture([alert()]) is None


def test_a_template_of_the_users(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(
        "{{ name }} {{ alert.snr|round }} {{ alert.diaSource.band }} {{ alert.no.such }}\n"
    )
    composer = Composer("alerts", file, "{{ count }} of {{ topic }}", pictures=False)
    assert composer.paths() is None
    told = composer.message(Bundle([alert(snr=5.2, band="g"), alert(snr=math.nan)], 2))
    assert told == Message("2 of alerts", "2 alerts in alerts:\n\n7 5.0 g -\n\n7 - - -")


def test_the_template_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/commands/notify.md").read_text(encoding="utf-8")
    (source,) = (each for each in page.split("```") if each.startswith("text\n{{"))
    file = tmp_path / "mine.txt"
    file.write_text(source.removeprefix("text\n"))
    told = Composer("alerts", file, pictures=False)
    one = alert(snr=60.0, reliability=0.987, band="r")
    assert told.message(Bundle([one], 1)).text.startswith("7 in r: - !\nreliability 0.99, https:")
    assert "\nreliability -, https:" in told.message(Bundle([alert()], 1)).text


def test_what_an_alert_lacks_is_never_greater_or_less_and_is_shown_as_such(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(
        "{{ alert.no.x > 5 }} {{ 5 > alert.no }} {{ '%.1f'|format(alert.no) }} "
        "{{ 2 * alert.no - 1 }} {{ alert.no|round(2) }} {{ alert.no|abs }}"
    )
    told = Composer("alerts", file, pictures=False).message(Bundle([alert()], 1))
    assert told.text == "False False nan - - -"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ nmae }}", ("not there: nmae", "mine.txt", "name")),
        ("a\n{% if %}", ("not valid", "mine.txt, line 2")),
        ("a\n\n{{ alert.object_id + 1 }}", ("TypeError", "mine.txt, line 3", "lack values")),
        ("{{ alert.update({}) }}", ("SecurityError", "mine.txt, line 1")),
        ("{% include '/etc/passwd' %}", ("mine.txt, line 1",)),
        ("\ud800", ("it is not text", "mine.txt")),
        ("{% for i in range(10**12) %}{% endfor %}", ("Range too big", "mine.txt, line 1", "end")),
    ],
)
def test_a_template_that_is_not_valid_is_told_at_the_start(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(UsageError) as raised:
        Composer("alerts", file)
    assert [each for each in words if each not in str(raised.value)] == []


def test_an_alert_on_which_a_template_fails_has_our_own_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("{{ 1 // (alert.snr - 5)|int if alert.snr > 0 }}")
    notices: list[str] = []
    composer = Composer("alerts", file, pictures=False, notice=notices.append)
    for _ in range(2):
        assert composer.message(Bundle([alert(snr=5.0)], 1)).text.startswith("7\n- -")
    (notice,) = notices
    assert "mine.txt, line 1: ZeroDivisionError" in notice


def test_a_template_that_does_not_come_to_an_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alertstream.printing.notifications.message.LAST_MOMENT", 0.01)
    monkeypatch.setattr("alertstream.printing.notifications.message.FILTER_TIMEOUT", 0.03)
    monkeypatch.setattr(_Template.render, "__defaults__", (0.03,))
    file = tmp_path / "mine.txt"
    endless = "{% for i in range(9**5) %}\n{% for j in range(9**5) %}{% endfor %}{% endfor %}"
    file.write_text(endless)
    with pytest.raises(UsageError, match=r"takes more than .* line 2 · it must come to an end"):
        Composer("alerts", file)
    file.write_text("{% if alert.snr > 5 %}" + endless + "{% endif %}well")
    notices: list[str] = []
    composer = Composer("alerts", file, pictures=False, notice=notices.append)
    listed = [alert(snr=5.2), alert(snr=6.0), alert(snr=4.0)]
    told = composer.message(Bundle(listed, 3)).text
    assert told.count("7\n- -") == 2
    assert told.endswith("\n\nwell")
    (notice,) = notices
    assert "mine.txt, line 2: TimeoutError" in notice


# Reading, telling, committing


class Batches:
    """Gives batches as a consumer does, and keeps what is committed."""

    def __init__(self, *batches: list[KafkaMessage], rebalance_after: int = 0) -> None:
        self.committed: list[int] = []
        self.latencies: dict[str, Histogram] = {}
        self.rebalance_lock = asyncio.Lock()
        self._batches = batches
        self._rebalance_after = rebalance_after

    async def batches(
        self, stop: asyncio.Event, before_rebalance: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[list[KafkaMessage]]:
        for number, batch in enumerate(self._batches, 1):
            if not stop.is_set():
                yield batch
                if number == self._rebalance_after:
                    await before_rebalance()

    async def commit(self, offsets: Offsets) -> None:
        self.committed += [offset for offset, _ in offsets.values()]


class Phone:
    """Takes messages, or says why not, as often as there are causes."""

    takes_pictures = False

    def __init__(self, *causes: str | None, label: str = "phone") -> None:
        self.label = label
        self.causes = list(causes)
        self.tried: list[Message] = []
        self.taken: list[Message] = []
        self.on_try: Callable[[], Any] = lambda: None

    def send(self, message: Message) -> str | None:
        self.tried.append(message)
        self.on_try()
        cause = self.causes.pop(0) if self.causes else None
        if cause is None:
            self.taken.append(message)
        return cause


def told(batches: Batches, *phones: Phone, **more: Any) -> tuple[ReadingAccount, list[str]]:
    notices: list[str] = []
    options = {"interval": 60.0} | more
    where = options.pop("where", None)
    stop = options.pop("stop", None) or asyncio.Event()
    if where:
        chosen_by = [[WhereFilter(where, "--where")]]
        options["selection"] = Selection(chosen_by, notices.append)
    composer = Composer("alerts", pictures=False)
    teller = Notifier(Schemas(), composer, phones, notice=notices.append, **options)
    batches.latencies = teller.latencies
    return asyncio.run(teller.run(batches, stop)), notices  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "FIRST_PAUSE", 0.001)


def test_thousands_at_once_are_few_messages() -> None:
    phone = Phone()
    (one,) = numbered(0, 1)
    many = [one._replace(offset=number) for number in range(2_000)]
    batches = Batches(*(many[first : first + 100] for first in range(0, 2_000, 100)))
    account, notices = told(batches, phone)
    assert [each.title for each in phone.taken] == [
        "100 alerts in alerts",
        "1,900 alerts in alerts",
    ]
    assert batches.committed == [100, 2_000]
    (line,) = account.as_lines()
    assert line == "2000 read = 2000 told in 2 messages + 0 skipped + 0 undecodable"
    assert notices == []
    assert sum(batches.latencies["alerts"].counts) == 2 * MAX_LISTED


def test_what_is_chosen_is_told_and_all_is_committed() -> None:
    phone = Phone()
    junk = KafkaMessage("alerts", 0, 4, 0, None, b"junk")
    batches = Batches(numbered(0, 4), [junk], [], numbered(5, 6))
    account, notices = told(batches, phone, where="source_id == 2")
    assert [each.text.split("\n")[0].split()[-1] for each in phone.taken] == ["2"]
    assert batches.committed == [4, 5, 6]
    (line,) = account.as_lines()
    assert line == "6 read = 1 told in 1 message + 4 skipped + 1 undecodable"
    assert len(notices) == 1
    assert "undecodable" in notices[0]


def test_who_has_taken_a_message_does_not_get_it_again_for_others() -> None:
    slack, mail = Phone(label="slack"), Phone("error=500", "error=500", label="mail")
    batches = Batches(numbered(0, 1))
    slack.on_try = mail.on_try = lambda: batches.committed.append(-1)
    _, notices = told(batches, slack, mail)
    assert (len(slack.tried), len(mail.tried), len(mail.taken)) == (1, 3, 1)
    assert batches.committed == [-1] * 4 + [1]
    assert notices == [
        "mail has not taken a message: error=500 · trying again until it does",
        "mail takes messages again",
    ]


def test_what_is_refused_again_and_again_goes_without_its_picture() -> None:
    phone = Phone(*["too large"] * notifier_module.PLAIN_AFTER)
    batches = Batches(numbered(0, 1))
    told(batches, phone)
    assert len(phone.taken) == 1
    assert phone.taken[0].picture is None


def test_what_a_stop_leaves_is_not_committed() -> None:
    phone = Phone(*["down"] * 99)
    batches = Batches(numbered(0, 3))

    async def stopped() -> ReadingAccount:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        phone.on_try = lambda: loop.call_soon_threadsafe(stop.set)
        composer = Composer("alerts", pictures=False)
        teller = Notifier(Schemas(), composer, [phone], interval=1)
        return await teller.run(batches, stop)  # type: ignore[arg-type]

    account = asyncio.run(stopped())
    assert batches.committed == []
    (line,) = account.as_lines()
    assert line == (
        "3 read = 0 told + 0 skipped + 0 undecodable + 3 not told, and read again next time"
    )


def test_a_service_that_hangs_is_given_up_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation.unless_stopped, "__defaults__", (0.05,))
    monkeypatch.setattr(notifier_module, "SEND_TIMEOUT", 0.02)
    phone = Phone()
    batches = Batches(numbered(0, 1))

    async def stopped() -> ReadingAccount:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hang() -> None:
            if len(phone.tried) == 2:
                loop.call_soon_threadsafe(stop.set)
            time.sleep(0.3)

        phone.on_try = hang
        composer = Composer("alerts", pictures=False)
        teller = Notifier(Schemas(), composer, [phone], interval=1)
        return await teller.run(batches, stop)  # type: ignore[arg-type]

    assert asyncio.run(stopped()).left == 1
    assert batches.committed == []
    assert len(phone.tried) == 2


def test_what_waits_goes_to_the_member_that_gets_its_partition() -> None:
    phone = Phone()
    batches = Batches(numbered(0, 1), numbered(1, 3), numbered(1, 4), rebalance_after=2)
    account, _ = told(batches, phone)
    assert [each.title for each in phone.taken][1:] == ["3 alerts in alerts"]
    assert batches.committed == [1, 4]
    assert (account.read, account.done) == (4, 4)


def test_what_was_told_and_is_read_again_is_not_told_twice() -> None:
    phone = Phone()
    batches = Batches(numbered(0, 2), numbered(0, 3))
    account, _ = told(batches, phone)
    assert phone.taken[0].title == "2 alerts in alerts"
    assert (len(phone.taken), account.done, batches.committed) == (2, 3, [2, 3])
    # As in a topic that was made anew.
    again = [each._replace(timestamp=9_000) for each in numbered(0, 2)]
    account, _ = told(Batches(numbered(0, 2), again), Phone())
    assert account.done == 4


# Commands


def command(tmp_path: Path, code: str) -> Command:
    script = tmp_path / "taker.py"
    script.write_text(
        f"import os, sys, time, pathlib\nfolder = pathlib.Path({str(tmp_path)!r})\n{code}"
    )
    return Command(f"'{sys.executable}' -S '{script}'")


def test_a_command_gets_each_alert(tmp_path: Path) -> None:
    code = "with open(folder / 'got', 'a') as file: file.write(sys.stdin.read())"
    batches = Batches(numbered(0, 3))
    taker = command(tmp_path, code)
    account, _ = told(batches, command=taker, where="source_id != 1")
    lines = [json.loads(line) for line in (tmp_path / "got").read_text().splitlines()]
    assert [(each["offset"], each["alert"]["diaSource"]["diaSourceId"]) for each in lines] == [
        (0, 0),
        (2, 2),
    ]
    (line,) = account.as_lines()
    assert line == "3 read = 2 told + 1 skipped + 0 undecodable"
    assert batches.committed == [3]


def test_an_alert_that_a_command_never_takes_fails_and_the_next_is_given(tmp_path: Path) -> None:
    code = "open(folder / 'tries', 'a').write('x'); sys.exit('\"offset\": 0,' in sys.stdin.read())"
    batches = Batches(numbered(0, 2))
    account, notices = told(batches, command=command(tmp_path, code))
    assert (account.done, account.failed, batches.committed) == (1, 1, [2])
    assert len((tmp_path / "tries").read_text()) == notifier_module.MAX_TRIES + 1
    (notice,) = notices
    assert "5 times: exit status 1 · alerts[0]@0" in notice


def test_a_command_that_hangs_is_killed_and_its_alert_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alertstream.printing.notifications.command.COMMAND_TIMEOUT", 0.1)
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def starting(*words: str, **options: Any) -> asyncio.subprocess.Process:
        started.append(await start(*words, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", starting)
    cause = asyncio.run(command(tmp_path, "time.sleep(99)").take("{}"))
    assert cause is not None
    assert "was killed" in cause
    assert [each.returncode for each in started] == [-signal.SIGKILL]


def test_a_command_need_not_read_what_it_gets() -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(5):
            assert runner.run(Command("true").take("x" * 1_000_000)) is None


def test_a_command_that_is_not_there() -> None:
    for text in ("", "no-such-program x", "'"):
        with pytest.raises(UsageError, match="--exec"):
            Command(text)


# Secrets

SECRETS = ("hunter2secret", "T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ", "Bearer")
URLS = (
    "json://ada:hunter2secret@127.0.0.1:1/TIiajkdnlazkcOXrIdevi7FQ?+Authorization=Bearer",
    "mailto://ada:hunter2secret@127.0.0.1:1?from=a@b.example&to=c@d.example&cto=1",
    "ntfy://ada:hunter2secret@127.0.0.1:1/TIiajkdnlazkcOXrIdevi7FQ",
    "matrix://ada:hunter2secret@127.0.0.1:1/!TIiajkdnlazkcOXrIdevi7FQ",
    "mmost://127.0.0.1:1/TIiajkdnlazkcOXrIdevi7FQ",
)


@pytest.mark.parametrize("url", URLS)
def test_no_secret_is_told_when_sending_fails(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    service = Service(url)
    cause = service.send(Message("title", "text"))
    assert cause
    said = "\n".join((service.label, cause, caplog.text, *capfd.readouterr()))
    assert [each for each in SECRETS if each.lower() in said.lower()] == []
    assert service.label == f"{url.partition(':')[0]}://…"


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD",
        "hunter2secret://x",
        "tgram://hunter2secret",
        "json://",
        "mailto://ada:hunter2secret@",
        "gnome://hunter2secret",
    ],
)
def test_no_secret_is_told_of_a_url_that_is_not_valid(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UsageError) as raised:
        Service(url, "phone")
    said = "\n".join((str(raised.value), caplog.text, *capfd.readouterr()))
    assert "phone" in said
    assert [each for each in SECRETS if each.lower() in said.lower()] == []


def test_secrets_on_a_command_line_are_noticed() -> None:
    assert Service(URLS[0]).shows_secrets
    assert Service("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ").shows_secrets
    assert not Service("json://127.0.0.1:1/").shows_secrets
