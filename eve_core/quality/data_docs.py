"""The pages of a validation: one of our own that sums up every check, in front of Great Expectations' data docs.

A report is opened on a cluster's artifact server or from a folder, often without a network. Great Expectations' pages
load styles, scripts and a logo from other hosts, and their index lists nothing without those scripts; here they are
made to stand alone.
"""

import re
import shutil
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

from eve_core.quality.report import ValidationReport

_PAGES = files("eve_core.quality").joinpath("pages")
# What a page loads from elsewhere, and what only works with it. <style> is replaced by our own.
_FOREIGN = re.compile(
    r"<script\b.*?</script>|<style\b.*?</style>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer>|<title>.*?</title>",
    re.DOTALL | re.IGNORECASE,
)


def site_config(folder: Path) -> dict[str, Any]:
    """Great Expectations' configuration of a site in `folder`."""
    return {
        "class_name": "SiteBuilder",
        "site_name": "EVE data validation",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
    }


def finish_data_docs(site: Path, report: ValidationReport) -> None:
    """Make Great Expectations' pages in `site` stand alone, and put the summary in front of them as index.html."""
    style = _PAGES.joinpath("style.css").read_text(encoding="utf-8")
    for page in [path for folder in ("expectations", "validations") for path in (site / folder).rglob("*.html")]:
        text = _FOREIGN.sub("", page.read_text(encoding="utf-8"))
        head = f"<head><title>EVE data validation: {page.stem}</title><style>{style}</style>"
        page.write_text(text.replace("<head>", head, 1), encoding="utf-8")
    shutil.rmtree(site / "static", ignore_errors=True)  # fonts and pictures that only the removed parts used
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_PAGES.joinpath("index.html.jinja").read_text(encoding="utf-8"))
    tables = [(table, list(results)) for table, results in groupby(report.results, key=lambda result: result.table)]
    index = template.render(report=report, tables=tables, pages=_page_of_table(site), style=style)
    (site / "index.html").write_text(index, encoding="utf-8")


def _page_of_table(site: Path) -> dict[str, str]:
    """Great Expectations' page of each table, relative to the site ("captions of flickr8k" -> "validations/...")."""
    pages = {}
    for page in (site / "validations").rglob("prepared-*.html"):
        kind, set_name = page.stem.removeprefix("prepared-").split("-", 1)
        pages[f"{kind} of {set_name}"] = page.relative_to(site).as_posix()
    return pages
