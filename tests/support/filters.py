"""Files of filters for tests, and the counts that ``filter`` reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.commands import Finished


def own_filters(tmp_path: Path, code: str) -> Path:
    """Write a file of filters; the import of ``AlertFilter`` is added."""
    path = tmp_path / "mine.py"
    path.write_text(f"from alertstream import AlertFilter\n{code}")
    return path


def own_filter(tmp_path: Path, name: str, body: str, fields: str = "None") -> Path:
    """Write a file with one filter, from its name and the body of ``passes``."""
    code = f"""
class {name}(AlertFilter):
    \"\"\"A test's.\"\"\"
    fields = {fields}
    def passes(self, alert):
        {body}
"""
    return own_filters(tmp_path, code)


def totals(finished: Finished) -> dict[str, dict[str, Any]]:
    """The final counts of ``filter --format json``, by filter."""
    return {each["filter"]: each for each in finished.objects if each.get("final")}
