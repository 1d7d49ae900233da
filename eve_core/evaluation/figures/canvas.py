"""What every figure is drawn on, and where it is kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What is shown is drawn with a seed of its own: always the same pictures.
SEED = 7


def subplots(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    """A figure that is `width` inches wide, with (rows, columns) axes, each row `height` inches high."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height * rows), squeeze=False)


def pictures(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    """The same without frames and ticks, for pictures."""
    figure, axes = subplots(rows, columns, width, height)
    for axis in axes.flat:
        axis.axis("off")
    return figure, axes


def figure_folder(parent: Path) -> Path:
    """The folder for the figures of what is in `parent`."""
    folder = parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(figure: "Figure | None", path: Path) -> None:
    """Write a PNG; where there is nothing to show, remove what an earlier attempt left."""
    import matplotlib.pyplot as plt

    if figure is None:
        path.unlink(missing_ok=True)
        return
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
