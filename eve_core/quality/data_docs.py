"""Great Expectations' data docs, made to stand alone.

A report is opened on a cluster's artifact server or from a folder, often without a network. Great Expectations' pages
load styles, scripts and a logo from other hosts, and their index lists nothing without those scripts: our own page
takes its place.
"""

import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

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


def finish_data_docs(site: Path, style: str) -> dict[str, list[tuple[str, str]]]:
    """Make the pages in `site` stand alone.

    Args:
        site: the folder of `site_config`.
        style: what they look like.

    Returns:
        By table ("captions of flickr8k"), the rows that a page is about ("1 to 500000") and its place in `site`.
    """
    for page in [path for folder in ("expectations", "validations") for path in (site / folder).rglob("*.html")]:
        text = _FOREIGN.sub("", page.read_text(encoding="utf-8"))
        head = (
            '<head><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>EVE data validation: {page.stem}</title><style>{style}</style>"
        )
        page.write_text(text.replace("<head>", head, 1), encoding="utf-8")
    shutil.rmtree(site / "static", ignore_errors=True)  # fonts and pictures that only the removed parts used
    pages: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for page in (site / "validations").rglob("prepared-*.html"):
        kind, set_name, first, _, last = page.stem.removeprefix("prepared-").split("-")
        pages[f"{kind} of {set_name}"].append((f"{first} to {last}", page.relative_to(site).as_posix()))
    return {table: sorted(found, key=lambda entry: int(entry[0].split()[0])) for table, found in pages.items()}
