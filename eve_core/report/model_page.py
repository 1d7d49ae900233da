"""The page of one model: why it was blessed or refused, in one self-contained HTML file."""

from pathlib import Path

from eve_core.evaluation.blessing import Blessing
from eve_core.report.page import embedded, render


def write_model_page(blessing: Blessing, out: Path, figures: Path | None = None) -> None:
    """Write the page of what `blessing` is about.

    Args:
        blessing: the gate's verdict.
        out: the HTML file.
        figures: folder of figures that the evaluation step drew.
    """
    render("model.html", out, blessing=blessing, figures=embedded(figures))
