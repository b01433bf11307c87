"""The dashboard as code. `python -m monitoring.grafana.dashboard` writes dashboards/firstbell.json from it."""

import json
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType

from monitoring.grafana.background import business, processes
from monitoring.grafana.health import is_it_healthy
from monitoring.grafana.oncall import for_whom, where_does_it_stick
from monitoring.grafana.panels import RUNBOOK

COMMITTED = Path(__file__).parent / "dashboards" / "firstbell.json"


def built() -> str:
    """The dashboard, as the JSON that is committed."""
    return json.dumps(_dashboard().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _dashboard() -> dashboard.Dashboard:
    whole = (
        dashboard.Dashboard("Firstbell")
        .uid("firstbell")
        .description("From payment succeeded to every session on the calendar. From top to bottom: worse to milder.")
        .tags(["firstbell"])
        .readonly()
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(dashboard.ConstantVariable("runbook").label("Runbook").value("/public/runbook.txt"))
        .link(
            dashboard.DashboardLink("Runbook")
            .type(DashboardLinkType.LINK)
            .icon("doc")
            .url(RUNBOOK)
            .target_blank(target_blank=True)
        )
    )
    ids = count(1)
    for title, panels in (
        ("Is it healthy?", is_it_healthy()),
        ("Where does it stick?", where_does_it_stick()),
        ("For whom?", for_whom()),
        ("Business", business()),
        ("Processes", processes()),
    ):
        whole.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            whole.with_panel(panel.id(next(ids)))
    return whole


if __name__ == "__main__":
    COMMITTED.write_text(built(), encoding="utf-8")
