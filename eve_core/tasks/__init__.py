"""The downstream tasks: what each reads, its model, its metric, and how it answers.

The two other rooms' only way in is `get_task`; serving uses `load_predictor`.
"""

from pathlib import Path

from eve_core.tasks.task import Predictor, Task, TaskScores


def get_task(name: str) -> Task:
    """The task called `name`: vqa, nlvr2 or retrieval."""
    from eve_core.tasks.nlvr2 import Nlvr2Task
    from eve_core.tasks.retrieval import RetrievalTask
    from eve_core.tasks.vqa import VqaTask

    tasks: dict[str, type[Task]] = {"vqa": VqaTask, "nlvr2": Nlvr2Task, "retrieval": RetrievalTask}
    return tasks[name]()


def load_predictor(checkpoint: Path | str) -> Predictor:
    """A fine-tuned checkpoint, ready to answer; its task is read from the checkpoint.

    Raises:
        UserError: the folder is not that of a fine-tuned model.
    """
    return Predictor.load(checkpoint, get_task)


__all__ = ["Predictor", "Task", "TaskScores", "get_task", "load_predictor"]
