"""What a person sees while the pipeline runs on this machine: a line a step, with bars."""

import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_CACHE_HIT = re.compile(r"Task (\S+) cache hit")
_SECONDS_BETWEEN_LINES = 20


class Display:
    """Reads what steps leave in the run's folder (`*.log`, `*.done`, `*.failed`, bars) and shows it.

    At a terminal the lines move; elsewhere a line is printed when a step starts, ends, and every 20 seconds between.

    Args:
        console: where to show it.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.reused: list[str] = []
        self._folder = Path()
        self._started: dict[str, float] = {}
        self._ended: dict[str, tuple[str, float]] = {}
        self._reused_printed = 0
        self._last_line = 0.0

    def notice(self, record: logging.LogRecord) -> bool:
        """Look at one of kfp's log records for a step that was reused; always lets it pass."""
        found = _CACHE_HIT.search(record.getMessage())
        if found:
            self.reused.append(found.group(1))
        return True

    @contextlib.contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Show the run in `folder` while the body runs."""
        self._folder = folder
        stop = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(stop,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()

    def _watch(self, stop: threading.Event) -> None:
        if not self.console.is_terminal:
            while not stop.wait(0.5):
                self._print_news()
            self._print_news()
            return
        with Live(console=self.console, refresh_per_second=4) as live:
            while not stop.wait(0.25):
                self._look()
                live.update(self._picture())
            self._look()
            live.update(self._picture())

    def _look(self) -> None:
        now = time.monotonic()
        for path in sorted(self._folder.glob("*.log"), key=lambda path: path.stat().st_ctime):
            if path.name != "pipeline.log":
                self._started.setdefault(path.stem, now)
        for name in self._started:
            for outcome in ("done", "failed"):
                if name not in self._ended and (self._folder / f"{name}.{outcome}").exists():
                    self._ended[name] = (outcome, now)

    def _picture(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        bars = self._bars()
        for name, start in self._started.items():
            outcome, end = self._ended.get(name, ("", time.monotonic()))
            mark = {"done": "[green]done[/]", "failed": "[red]failed[/]"}.get(outcome, "[cyan]runs[/]")
            bar = None if outcome else bars.get(name)
            if bar is not None:
                shown = ProgressBar(total=bar["total"] or 1, completed=bar["done"], width=30)
                table.add_row(name, mark, f"{end - start:4.0f} s", shown, _caption(bar))
            else:
                table.add_row(name, mark, f"{end - start:4.0f} s", "", "")
        reused = Text(f"reused: {', '.join(self.reused)}", style="dim") if self.reused else Text()
        return Group(table, reused)

    def _print_news(self) -> None:
        before_started, before_ended = set(self._started), set(self._ended)
        self._look()
        for name in self.reused[self._reused_printed :]:
            self._line(f"{name}: reused")
            self._reused_printed += 1
        for name in self._started:
            if name not in before_started:
                self._line(f"{name}: started")
        for name, (outcome, end) in self._ended.items():
            if name not in before_ended:
                self._line(f"{name}: {outcome} after {end - self._started[name]:.0f} s")
        if time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            for name, bar in self._bars().items():
                if name not in self._ended:
                    self._line(f"{name}: {_caption(bar)}")

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False)
        self._last_line = time.monotonic()

    def _bars(self) -> dict[str, dict[str, Any]]:
        """The newest bar of each step."""
        bars: dict[str, dict[str, Any]] = {}
        for path in sorted(self._folder.glob("*.bar.json"), key=lambda path: path.stat().st_mtime):
            with contextlib.suppress(OSError, ValueError):
                bar = json.loads(path.read_text())
                bars[str(bar["step"])] = bar
        return bars


def _caption(bar: dict[str, Any]) -> str:
    total = f"/{bar['total']}" if bar["total"] else ""
    note = f", {bar['note']}" if bar["note"] else ""
    return f"{bar['description']} {bar['done']}{total} {bar['unit']}s{note}"
