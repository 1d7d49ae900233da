"""Steps as forks: processes of their own, with the imports done."""

import json
import os
import select
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kfp import dsl, local
from kfp.local import subprocess_task_handler

from pipelines.eve_training.forked_steps import forked_steps


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def look(path: str, wait_for: str):
    """Say what the process is like."""
    import json
    import os
    import random
    import signal
    import sys

    imported = wait_for in sys.modules
    about = {
        "imported": imported,
        "process": os.getpid(),
        "parent": os.getppid(),
        "ignores_interrupts": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "children_reaped_by": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        "random": random.random(),
        "variable": os.environ.get("EVE_TEST"),
        "cuda": "torch" in sys.modules and sys.modules["torch"].cuda._is_in_bad_fork(),
    }
    with open(path, "w") as file:
        json.dump(about, file)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def end(how: str):
    """End in some way."""
    import os
    import signal
    import sys

    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        sys.exit(3)
    if how == "raise":
        raise ValueError("broken")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def meet(mine: str, other: str):
    """End well only where another step runs at the same time."""
    import os
    import time

    open(mine, "w").close()
    until = time.monotonic() + 60
    while not os.path.exists(other):
        if time.monotonic() > until:
            raise TimeoutError("the other step never came")
        time.sleep(0.01)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """One server for all tests; the last one kills it."""
    folder = tmp_path_factory.mktemp("steps")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"), raise_on_error=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")  # whose threads come with its import, and know about forks
        with forked_steps(folder / "log"):
            yield folder
    assert subprocess_task_handler.run_local_subprocess.__module__ == subprocess_task_handler.__name__


def _look(folder, module="mlflow"):
    path = folder / f"{threading.get_ident()}-{time.monotonic_ns()}.json"
    look(path=str(path), wait_for=module)
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_step_is_a_process_of_its_own_with_the_imports_done(steps, monkeypatch):
    monkeypatch.setenv("EVE_TEST", "here")
    first, second = _look(steps), _look(steps)
    assert first["process"] != second["process"]
    assert first["parent"] == second["parent"] != os.getpid()
    assert first["random"] != second["random"]
    for found in (first, second):
        assert found["imported"]
        assert found["variable"] == "here"
        assert found["ignores_interrupts"] == (signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
        assert found["children_reaped_by"]


@pytest.mark.slow
def test_nothing_that_is_imported_starts_threads_or_a_gpu(steps):
    for _ in range(60):
        found = _look(steps, "eve_core.report.model_page")  # the last
        if found["imported"]:
            break
        time.sleep(0.5)
    assert found["imported"]
    threads = [path.read_text().strip() for path in Path(f"/proc/{found['parent']}/task").glob("*/comm")]
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1  # Arrow's, which knows about forks too
    assert not found["cuda"]


@pytest.mark.slow
def test_two_steps_run_side_by_side(steps):
    one, other = str(steps / "one"), str(steps / "other")
    with ThreadPoolExecutor(2) as pool:
        for step in [pool.submit(meet, mine=one, other=other), pool.submit(meet, mine=other, other=one)]:
            step.result()
        found = [*pool.map(lambda _: _look(steps), range(6))]
    assert len({one["process"] for one in found}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "exit", "raise"])
def test_a_step_that_does_not_end_well_has_failed(steps, how):
    with pytest.raises(RuntimeError, match="FAILURE"):
        end(how=how)
    end(how="well")


@pytest.mark.slow
def test_where_the_server_died_steps_start_as_they_did_before(steps):
    server = _look(steps)["parent"]
    ended = os.pidfd_open(server)
    os.kill(server, signal.SIGKILL)
    select.select([ended], [], [])  # with all its threads
    os.close(ended)
    assert not _look(steps)["imported"]
