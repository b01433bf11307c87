"""The few kinds of panels that the dashboard is made of, so that all of them look and read alike."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
RUNBOOK = "${runbook}"

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"

# Upper steps of a scale: from this value on, this colour. Below the first one the base colour.
Steps = Mapping[float, str]

_Panel = TypeVar("_Panel", stat.Panel, bargauge.Panel, timeseries.Panel, heatmap.Panel)


def number(
    title: str,
    about: str,
    expr: str,
    *,
    unit: str = "short",
    base: str = GREEN,
    steps: Steps | None = None,
    words: Mapping[str, tuple[str, str]] | None = None,
    legend: str = "",
    span: int = 4,
    decimals: int | None = None,
    runbook: str,
) -> stat.Panel:
    """One number, coloured by what it means; `words` show a value as a word in a colour. `span` is out of 24."""
    panel = (
        stat.Panel()
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE_AND_NAME if legend else BigValueTextMode.VALUE)
        .reduce_options(_last())
        .with_target(_query(expr, legend).instant())
    )
    if words:
        panel.mappings([ValueMap({value: ValueMappingResult(*word) for value, word in words.items()})])
    if decimals is not None:
        panel.decimals(decimals)
    return _dressed(panel, title, about, unit=unit, span=span, runbook=runbook, height=4).thresholds(
        _steps(base, steps)
    )


def bars(
    title: str,
    about: str,
    expr: str,
    legend: str,
    *,
    unit: str = "short",
    base: str = BLUE,
    steps: Steps | None = None,
    span: int = 8,
    runbook: str,
) -> bargauge.Panel:
    """One bar for each series, as it is now."""
    panel = (
        bargauge.Panel()
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(_last())
        .min(0)
        .no_value("none")
        .with_target(_query(expr, legend).instant())
    )
    return _dressed(panel, title, about, unit=unit, span=span, runbook=runbook).thresholds(_steps(base, steps))


def lines(
    title: str,
    about: str,
    queries: Mapping[str, str],
    *,
    unit: str = "short",
    steps: Steps | None = None,
    stacked: bool = False,
    span: int = 8,
    runbook: str,
) -> timeseries.Panel:
    """Lines over time: `queries` maps the legend of each query to its expression; a step is drawn as a line."""
    panel = (
        timeseries.Panel()
        .min(0)
        .fill_opacity(20 if stacked else 5)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL if stacked else StackingMode.NONE))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    for number_of_query, (legend, expr) in enumerate(queries.items()):
        panel.with_target(_query(expr, legend).range().ref_id(chr(ord("A") + number_of_query)))
    if steps:
        panel.thresholds(_steps("transparent", steps))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return _dressed(panel, title, about, unit=unit, span=span, runbook=runbook)


def cells(title: str, about: str, expr: str, *, unit: str, span: int = 8, runbook: str) -> heatmap.Panel:
    """A heatmap of the buckets of a histogram over time; `unit` is that of their bounds."""
    panel = (
        heatmap.Panel()
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .with_target(_query(expr, "{{le}}").range().format(PromQueryFormat.HEATMAP))
    )
    return _dressed(panel, title, about, unit="short", span=span, runbook=runbook)


def _dressed(panel: _Panel, title: str, about: str, *, unit: str, span: int, runbook: str, height: int = 8) -> _Panel:
    link = dashboard.DashboardLink("Runbook").type(DashboardLinkType.LINK).url(f"{RUNBOOK}#{runbook}")
    return (
        panel.title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .span(span)
        .height(height)
        .links([link.target_blank(target_blank=True)])
    )


def _query(expr: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).legend_format(legend).ref_id("A")


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _steps(base: str, steps: Steps | None) -> dashboard.ThresholdsConfig:
    ordered: Iterable[tuple[float, str]] = sorted((steps or {}).items())
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(color=base), *(Threshold(value=value, color=color) for value, color in ordered)])
    )
