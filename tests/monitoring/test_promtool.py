import pytest

from tests.monitoring.programs import promtool
from tests.monitoring.rules import MONITORING

pytestmark = pytest.mark.prometheus


def test_prometheus_takes_the_configuration_with_its_rules() -> None:
    checked = promtool("check", "config", "prometheus.yml")

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_takes_the_rules_and_alerts_and_finds_none_twice() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml", "alerts.yml")

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("file", sorted(file.name for file in (MONITORING / "tests").glob("*.yml")))
def test_rules_and_alerts_do_in_every_case_what_is_foreseen(file: str) -> None:
    tried = promtool("test", "rules", f"tests/{file}")

    assert tried.returncode == 0, tried.stdout + tried.stderr
