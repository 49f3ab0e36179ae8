"""Stack files are read as Docker reads them."""

from __future__ import annotations

import pytest
from deploy.rehearsal import stack


def test_variables_of_a_stack() -> None:
    given = {"A": "1", "EMPTY": ""}
    assert stack.filled("${A:-2} ${B:-2} ${EMPTY:-2} $${A:-x} $$A", given) == "1 2 2 ${A:-x} $A"
    assert stack.filled("${A:?why}", given) == "1"
    with pytest.raises(KeyError, match="B"):
        stack.filled("${B:?why}", given)


def test_variables_become_properties_as_in_kafkas_image() -> None:
    names = {"KAFKA_A_B": "1", "KAFKA_A___B_C": "2", "KAFKA_A__B": "3", "CLUSTER_ID": "4"}
    service = {"environment": names | {"KAFKA_HEAP_OPTS": "-Xmx1g"}}
    assert stack.kafka_properties(service) == {"a.b": "1", "a-b.c": "2", "a_b": "3"}
