"""As much of a Kubernetes cluster with Kubeflow Trainer as one TrainJob needs: it speaks the API on loopback, holds to
its published models, and runs what a TrainJob asks for as processes of this machine.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kubeflow_trainer_api import models

_JOBS = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/(\w+)/trainjobs(?:/([\w-]+))?$")
_RESOURCE = re.compile(
    r"/apis?(?:/(?P<group>[\w.]+\.[\w.]+))?/\w+(?:/namespaces/[\w-]+)?/(?P<resource>\w+)(?:/(?P<name>[\w-]+))?(?:/(?P<sub>\w+))?"
)
_RUNTIME = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1",
    "kind": "ClusterTrainingRuntime",
    "metadata": {"name": "torch-distributed", "labels": {"trainer.kubeflow.org/framework": "torch"}},
    "spec": {
        "mlPolicy": {"numNodes": 1, "torch": {}},
        "template": {
            "spec": {
                "replicatedJobs": [
                    {
                        "name": "node",
                        "template": {
                            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                            "spec": {"template": {"spec": {"containers": [{"name": "node", "image": "torch"}]}}},
                        },
                    }
                ]
            }
        },
    },
}


class Cluster:
    """`jobs` holds what was submitted, `deleted` what was taken away, `asked` every verb, API group and resource.

    As many requests as `silent` says go without an answer to what they ask.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submitted: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.nodes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.failing = False
        self.silent = 0
        self.asked: set[tuple[str, str, str]] = set()
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("get", lambda: cluster.get(self.path))

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer("create", lambda: cluster.submit(content))

            def do_DELETE(self) -> None:
                self._answer("delete", lambda: cluster.delete(self.path))

            def _answer(self, verb: str, find: Callable[[], tuple[int, Any]]) -> None:
                if match := _RESOURCE.match(self.path):
                    named = verb != "get" or match["name"]
                    resource = "/".join(filter(None, (match["resource"], match["sub"])))
                    cluster.asked.add((verb if named else "list", match["group"] or "", resource))
                if cluster.silent:
                    cluster.silent -= 1
                    status, content = 503, {"kind": "Status", "message": "the server is being upgraded"}
                else:
                    status, content = find()
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.kube_config = folder / "kube_config.yaml"
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        named = {"name": "here"}
        self.kube_config.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "contexts": [{**named, "context": {"cluster": "here", "user": "here"}}],
                    "clusters": [{**named, "cluster": {"server": address}}],
                    "users": [{**named, "user": {}}],
                }
            )
        )

    def close(self) -> None:
        """Stop everything."""
        for process in [process for processes in self.nodes.values() for process in processes]:
            process.kill()
            process.wait()
        self._server.shutdown()
        self._server.server_close()

    def submit(self, content: dict[str, Any]) -> tuple[int, Any]:
        parsed = models.TrainerV1alpha1TrainJob.from_dict(content)
        # What the published model does not know, it drops without a word.
        assert _without_empty(parsed.to_dict()) == _without_empty(content)
        name, trainer = content["metadata"]["name"], content["spec"]["trainer"]
        if name in self.jobs:
            return 409, {"kind": "Status", "message": f"trainjobs {name} already exists"}
        for patch in content["spec"]["runtimePatches"]:
            (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
            containers = job["template"]["spec"]["template"]["spec"]["containers"]
            if any(container["name"] == "node" and container.get("env") for container in containers):
                return 403, {"kind": "Status", "message": "must not have envs for the node container"}
        if trainer["numNodes"] > 4:
            return 403, {"kind": "Status", "message": "exceeded quota: gpus"}
        self.jobs[name] = {**content, "metadata": {**content["metadata"], "creationTimestamp": _now()}}
        self.submitted.append(content)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.nodes[name] = [self._start_node(name, trainer, port, rank) for rank in range(trainer["numNodes"])]
        return 201, self.jobs[name]

    def _start_node(self, name: str, trainer: dict[str, Any], port: int, rank: int) -> subprocess.Popen[bytes]:
        assert trainer["command"][:2] == ["torchrun", "-m"]
        environment = {
            **os.environ,
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_NODE_RANK": str(rank),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        if self.failing:
            trainer = {**trainer, "args": ["absent.json"]}
        command = [sys.executable, "-m", "torch.distributed.run", *trainer["command"][1:], *trainer["args"]]
        with (self.folder / f"{name}-{rank}.log").open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def delete(self, path: str) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        match = _JOBS.match(path)
        assert match is not None
        name = match[2]
        if self._job(name) is None:
            return 404, {"kind": "Status", "message": "not found"}
        self.deleted.append(name)
        if "propagationPolicy=Foreground" in query:
            self.jobs[name]["metadata"]["deletionTimestamp"] = _now()
        else:  # its pods go later
            self.jobs.pop(name)
        for process in self.nodes[name]:
            if process.poll() is None:
                process.terminate()
        return 200, {"kind": "Status", "status": "Success"}

    def _job(self, name: str) -> dict[str, Any] | None:
        """What is there of a job, which waits for its pods if it is to go after them."""
        job = self.jobs.get(name)
        if job and "deletionTimestamp" in job["metadata"] and all(one.poll() is not None for one in self.nodes[name]):
            return self.jobs.pop(name) and None
        return job

    def get(self, path: str) -> tuple[int, Any]:
        path = path.partition("?")[0]
        if match := _JOBS.match(path):
            job = self._job(match[2])
            return (200, self._with_status(match[2], job)) if job else (404, {"kind": "Status", "message": "not found"})
        if path.endswith("/clustertrainingruntimes/torch-distributed"):
            return 200, _RUNTIME
        if path.endswith("/pods"):
            return 200, {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": self._pods()}
        if path.endswith("/events"):
            return 200, {"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": self._events()}
        if match := re.search(r"/pods/(.+)-node-(\d+)/log$", path):
            return 200, (self.folder / f"{match[1]}-{match[2]}.log").read_text(errors="replace")
        return 404, {"kind": "Status", "message": "not found"}

    def _with_status(self, name: str, job: dict[str, Any]) -> dict[str, Any]:
        ended = [process.poll() for process in self.nodes[name]]
        if any(ended):
            kind = "Failed"
        elif all(status == 0 for status in ended):
            kind = "Complete"
        else:
            return job
        now = job["metadata"]["creationTimestamp"]
        condition = {"type": kind, "status": "True", "reason": kind, "message": kind, "lastTransitionTime": now}
        return {**job, "status": {"conditions": [condition]}}

    def _pods(self) -> list[dict[str, Any]]:
        return [
            {
                "metadata": {
                    "name": f"{name}-node-{rank}",
                    "creationTimestamp": self.jobs[name]["metadata"]["creationTimestamp"],
                    "labels": {
                        "jobset.sigs.k8s.io/replicatedjob-name": "node",
                        "batch.kubernetes.io/job-completion-index": str(rank),
                    },
                },
                "spec": {"containers": [{"name": "node", "image": "torch"}]},
                "status": {"phase": "Running"},
            }
            for name, processes in self.nodes.items()
            if name in self.jobs
            for rank in range(len(processes))
        ]

    def _events(self) -> list[dict[str, Any]]:
        return [
            {
                "metadata": {"name": f"event-{pod['metadata']['name']}", "namespace": "eve"},
                "involvedObject": {"kind": "Pod", "name": pod["metadata"]["name"]},
                "reason": "Scheduled",
                "message": "assigned to a100-pool-1",
                "firstTimestamp": _now(),
            }
            for pod in self._pods()
        ]


def wait_for_submission(cluster: Cluster) -> None:
    """Until a TrainJob is there."""
    while not cluster.nodes:
        time.sleep(0.05)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _without_empty(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_empty(value) for key, value in tree.items() if value not in (None, {}, [])}
    return [_without_empty(value) for value in tree] if isinstance(tree, list) else tree
