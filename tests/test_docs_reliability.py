"""docs/reliability.md names the tests that there are, and each rule the tests that name it."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
CHAOS = REPOSITORY / "tests" / "chaos"
PAGE = (REPOSITORY / "docs" / "reliability.md").read_text("utf-8")
RULES = re.findall(r"^\| (R\d+) .*\| (`tests/.*) \|$", PAGE, re.MULTILINE)


def test_every_test_that_it_names_is_there() -> None:
    named = set(re.findall(r"^\| `(test_\w+\.py)`", PAGE, re.MULTILINE))
    assert len(named) > 10
    assert named <= {each.name for each in CHAOS.glob("test_*.py")}


def test_every_rule_is_there() -> None:
    assert [rule for rule, _ in RULES] == [f"R{number}" for number in range(1, 11)]


@pytest.mark.parametrize(("rule", "files"), RULES, ids=[rule for rule, _ in RULES])
def test_the_tests_of_a_rule_name_it(rule: str, files: str) -> None:
    for file in re.findall(r"`([^`]+)`", files):
        text = (REPOSITORY / file).read_text("utf-8")
        assert re.search(rf"(?<![0-9A-Za-z]){rule}(?![0-9])", text, re.IGNORECASE), file


def test_every_count_of_the_environment_is_there() -> None:
    counts = (CHAOS / "chaos_counts.py").read_text("utf-8")
    for name in re.findall(r"^    (\w+): int", counts, re.MULTILINE):
        assert f"`CHAOS_{name.upper()}`" in PAGE
