"""What a pipeline run did, for people: collected from MLflow, as a table at the terminal and as a page."""

from eve_core.report.collect import RunSummary, TaskSummary, collect
from eve_core.report.notification import message, notify
from eve_core.report.page import write_page

__all__ = ["RunSummary", "TaskSummary", "collect", "message", "notify", "write_page"]
