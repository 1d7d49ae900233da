"""The report of a pipeline run as one self-contained HTML file."""

import base64
from pathlib import Path
from typing import Any

from eve_core.config import RegistryConfig, RunConfig
from eve_core.report.collect import RunSummary
from eve_core.whole_file import write_whole

_TITLES = {
    "vqa": "Visual question answering",
    "nlvr2": "Visual reasoning over two pictures (NLVR2)",
    "retrieval": "Image-text retrieval",
}


def write_page(summary: RunSummary, config: RunConfig, out: Path) -> None:
    """Write the page for `summary` to `out`; pictures are embedded.

    Args:
        summary: from `collect`.
        config: of the run.
        out: the HTML file.
    """
    registry = config.registry
    tasks = [
        {
            "name": name,
            "title": _TITLES[name],
            "summary": task,
            "training": _figures(summary, registry, f"finetune-{name}"),
            "examples": _figures(summary, registry, f"evaluate-{name}"),
        }
        for name, task in summary.tasks.items()
    ]
    hours = summary.node_hours(config)
    prices = config.pool.price_per_node_hour if config.pool else {}
    costs = {kind: price * hours for kind, price in prices.items()}
    pretraining = _figures(summary, registry, "pretrain")
    render("page.html", out, run=summary, pretraining=pretraining, tasks=tasks, node_hours=hours, costs=costs)


def render(template: str, out: Path, **content: Any) -> None:
    """Write a page, whole or not at all.

    Args:
        template: its name in `templates`.
        out: the HTML file.
        content: what the template asks for.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("eve_core.report"), autoescape=select_autoescape())
    write_whole(environment.get_template(template).render(**content), out, "the page")


def embedded(folder: Path | None) -> dict[str, str]:
    """The pictures of a folder by name, as data addresses; none without one."""
    return {
        path.stem: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        for path in sorted(folder.glob("*.png") if folder else ())
    }


def _figures(summary: RunSummary, registry: RegistryConfig, step: str) -> dict[str, str]:
    """Figures of a step."""
    with summary.artifact(registry, step, "figures") as figures:
        return embedded(figures)
