"""Telling people how a run ended."""

import http.client
import json
import os
import urllib.request

from eve_core.config import NotificationConfig
from eve_core.report.collect import RunSummary

_SECONDS = 20


def message(summary: RunSummary, *, succeeded: bool) -> str:
    """What a run came to, a line a task.

    Args:
        summary: of the run.
        succeeded: whether it went through; a gate that refuses is no failure.
    """
    lines = [f"EVE run {summary.key} {'ended' if succeeded else 'FAILED'}"]
    for name, task in summary.tasks.items():
        champion = f"champion is {task.champion_after or 'none'}"
        if task.blessing is None:
            said = f"not judged; {champion}"
        elif not task.blessing["blessed"]:
            said = f"refused, {champion}: {'; '.join(task.blessing['reasons'])}"
        elif task.changed:
            said = f"blessed and promoted: version {task.champion_after}, before it {task.champion_before or 'none'}"
        elif task.awaits_approval:
            said = f"blessed; version {task.awaits_approval} waits for approval, {champion}"
        else:
            said = f"blessed, nothing changed: {champion}"
        lines.append(f"{name}: {said}")
    lines += [f"{step.name} failed: {step.failure}" for step in summary.steps.values() if step.failure]
    return "\n".join(lines)


def notify(config: NotificationConfig, text: str) -> str:
    """Post `text` to the webhook of the environment, if there is one; the run's outcome does not hang on that.

    Returns:
        What became of it, in words.
    """
    address = os.environ.get(config.variable)
    if not address:
        return f"nobody is notified: {config.variable} is not set"
    body = json.dumps({"text": text}).encode()
    try:
        request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return "notified"
    except (OSError, ValueError, http.client.HTTPException) as error:
        # What the error says may hold the address, which is a secret.
        reason = getattr(error, "code", None) or type(error).__name__
        return f"the notification could not be sent ({reason}); check the URL in {config.variable}"
