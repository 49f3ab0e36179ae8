"""Which rights are listed, and how."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from alertstream.kafka.admin import KINDS, OPERATIONS
from alertstream.local.broker.security import read_acls
from alertstream.local.rights import NEEDS, Use, as_commands

BROKER_PAGE = Path(__file__).parents[3] / "docs" / "commands" / "broker.md"
WRITTEN = ("transactional-id", "OUTPUT", "-undecodable", "CAPS", "-partitions")


def listed(command: str, use: Use) -> set[tuple[str, ...]]:
    """Operation, kind, name, pattern, and on which Kafka for whom."""
    return {
        (one, each.resource, each.name, each.pattern, each.kafka, each.principal)
        for each in use.rights()
        if each.command == command and not each.optional
        for one in each.operations
    }


def test_the_table_has_words_that_kafka_knows() -> None:
    for each in NEEDS:
        assert each.kind in KINDS
        assert {*each.operations} <= {*OPERATIONS}


def test_of_a_kafka_that_is_only_read_nothing_but_read_is_listed() -> None:
    use = Use("alerts", "ours", ["Own"], "there:9092", "here:9092", "ada", "me")
    wanted = listed("filter", use)
    there = {each for each in wanted if each[-2:] == ("there:9092", "User:ada")}
    assert there == {("READ", "TOPIC", "alerts", "LITERAL", "there:9092", "User:ada")}
    assert {each[-2:] for each in wanted - there} == {("here:9092", "User:me")}
    assert ("ALTER", "TOPIC", "alerts-partitions", "LITERAL", "here:9092", "User:me") in wanted


def test_a_pattern_becomes_what_its_names_begin_with() -> None:
    rights = listed("filter", Use("al?rts-*", "ours", ["Own-*"], "b:1"))
    topics = {each[2:4] for each in rights if each[1] == "TOPIC"}
    assert topics == {("al", "PREFIXED"), ("Own-", "PREFIXED"), ("ours-visit-caps", "LITERAL")}
    everything = listed("print", Use("*", "ours", [], "b:1"))
    assert everything == {("READ", "TOPIC", "*", "LITERAL", "b:1", "User:NAME")}


def test_a_group_that_nobody_names_begins_with_the_user() -> None:
    unnamed = Use("alerts", "filter-alerts", ["Own"], "b:1", user="ada", auto="ada-")
    told = listed("notify", unnamed)
    assert ("READ", "GROUP", "ada-notify-", "PREFIXED", "b:1", "User:ada") in told
    kinds = {each.resource for each in unnamed.rights() if each.command in ("print", "doctor")}
    assert kinds == {"TOPIC"}


def test_lines_are_for_a_shell() -> None:
    use = Use("alerts", "a b'c", ["Own", "Other"], "b:1")
    lines = [*as_commands(use.rights())]
    groups = [shlex.split(each) for each in lines if "--group" in each]
    assert any("a b'c" in words for words in groups)
    [both] = [each for each in lines if "--topic Own" in each]
    assert "--operation Create --operation Write --topic Own --topic Other" in both
    assert [each for each in lines if each.startswith("#")] == [
        *("# send", "# filter", "# print", "# notify", "# monitor", "# load", "# doctor"),
    ]
    assert any(each.endswith("# optional, for the lag of groups") for each in lines)


@pytest.mark.parametrize(("user", "command"), [("ada", "print"), ("filters", "filter")])
def test_the_example_of_rights_for_a_local_kafka_is_enough(
    user: str, command: str, tmp_path: Path
) -> None:
    example = BROKER_PAGE.read_text("utf-8").split("```\n# who")[1].split("```")[0]
    (tmp_path / "acl").write_text(f"# who{example}")
    allowed = read_acls(tmp_path / "acl", {"ada", "filters"})
    use = Use("alerts", "ours", ["Filter001"], "b:1")
    for each in use.rights():
        if each.command != command or each.optional:
            continue
        for operation in map(str.lower, each.operations):
            assert any(
                (given.user, given.operation, given.kind.upper().replace("-", "_"))
                == (user, operation, each.resource)
                and each.name.startswith(given.name.removesuffix("*"))
                for given in allowed
            ), asdict(each)
