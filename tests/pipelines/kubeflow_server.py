"""As much of Kubeflow Pipelines' API (v2beta1) as submitting and watching takes, on loopback.

It holds to the published models: what a request carries that they do not know is refused, as are parameters that a
pipeline does not declare.
"""

import email.parser
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml

_MODELS = {"experiments": "V2beta1Experiment", "runs": "V2beta1Run", "recurringruns": "V2beta1RecurringRun"}
_IDS = {"experiments": "experiment_id", "runs": "run_id", "recurringruns": "recurring_run_id"}
_LISTS = {"experiments": "experiments", "runs": "runs", "recurringruns": "recurringRuns"}


class KubeflowServer:
    """Answers at `address`; what was made is in `made`, by kind and id."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, dict[str, Any]]] = {
            kind: {} for kind in ("pipelines", "versions", "experiments", "runs", "recurringruns")
        }
        self.token: str | None = None
        self.requests: list[str] = []
        self.packages: list[str] = []
        self.failing = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*server.answer("GET", self.path, b"", self.headers))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                self._answer(*server.answer("POST", self.path, body, self.headers))

            def do_DELETE(self) -> None:
                self._answer(*server.answer("DELETE", self.path, b"", self.headers))

            def _answer(self, status: int, content: Any) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any]:
        parts = urlsplit(path)
        self.requests.append(f"{method} {parts.path}")
        if self.failing:
            self.failing -= 1
            return 503, {"message": "no healthy upstream"}
        if self.token is not None and headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"message": "the token has expired"}
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        route = parts.path.removeprefix("/apis/v2beta1/")
        if route == "healthz":
            return 200, {"multi_user": True}
        if route.startswith("pipelines"):
            return self._pipelines(method, route, query, body, headers)
        kind, _, identifier = route.partition("/")
        if method == "GET" and not identifier and "experiment_id" not in query and query.get("namespace") != "eve":
            return 400, {"message": "a namespace has to be named in multi-user mode"}
        if kind not in _MODELS:
            return 404, {"message": f"no route {route}"}
        if match := re.fullmatch(r"runs/([\w-]+):terminate", route):
            if match[1] not in self.made["runs"]:
                return 404, {"message": f"run {match[1]} not found"}
            if self.made["runs"][match[1]]["state"] not in ("PENDING", "RUNNING"):
                return 400, {"message": f"Failed to terminate a run {match[1]}. Row not found"}
            self.made["runs"][match[1]]["state"] = "CANCELING"
            return 200, {}
        if method == "POST":
            return self._make(kind, json.loads(body))
        if identifier:
            found = self.made[kind].get(identifier)
            if found is None:
                return 404, {"message": f"{kind[:-1]} {identifier} not found"}
            if method == "DELETE":
                del self.made[kind][identifier]
                return 200, {}
            return 200, found
        return 200, {_LISTS[kind]: _matching([*self.made[kind].values()][::-1], query)}

    def end(self, run_id: str, state: str, tasks: list[dict[str, Any]] | None = None) -> None:
        """Let a run have ended."""
        self.made["runs"][run_id] |= {"state": state, "run_details": {"task_details": tasks or []}}

    def _pipelines(self, method: str, route: str, query: dict[str, str], body: bytes, headers: Any) -> tuple[int, Any]:
        if method == "GET" and route == "pipelines":
            return 200, {"pipelines": _matching([*self.made["pipelines"].values()], query)}
        if match := re.fullmatch(r"pipelines/([\w-]+)/versions", route):
            mine = [found for found in self.made["versions"].values() if found["pipeline_id"] == match[1]]
            return 200, {"pipeline_versions": _matching(mine, query)}
        package = email.parser.BytesParser().parsebytes(
            f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body
        )
        (part,) = package.get_payload()
        self.packages.append(part.get_payload(decode=True).decode())
        spec = next(yaml.safe_load_all(self.packages[-1]))
        if route == "pipelines/upload":
            if any(found["display_name"] == query["name"] for found in self.made["pipelines"].values()):
                return 409, {"message": f"pipeline {query['name']} already exists"}
            made = {"pipeline_id": str(uuid.uuid4()), "display_name": query["name"]}
            self.made["pipelines"][made["pipeline_id"]] = made
            self._add_version(made["pipeline_id"], query["name"], spec)
            return 200, made
        assert route == "pipelines/upload_version"
        return 200, self._add_version(query["pipelineid"], query["name"], spec)

    def _add_version(self, pipeline: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        made = {
            "pipeline_id": pipeline,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "pipeline_spec": spec,
        }
        self.made["versions"][made["pipeline_version_id"]] = made
        return made

    def _make(self, kind: str, content: dict[str, Any]) -> tuple[int, Any]:
        unknown = _unknown(content, _MODELS[kind])
        if unknown:
            return 400, {"message": f"unknown field {unknown}"}
        if kind == "experiments" and content.get("namespace") != "eve":
            return 400, {"message": "an experiment has a namespace in multi-user mode"}
        if kind != "experiments":
            reference = content["pipeline_version_reference"]
            version = self.made["versions"].get(reference["pipeline_version_id"])
            if version is None or content["experiment_id"] not in self.made["experiments"]:
                return 404, {"message": "no such pipeline version or experiment"}
            declared = version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
            given = content["runtime_config"]["parameters"]
            lacking = {name for name, one in declared.items() if not one.get("isOptional")} - set(given)
            if lacking or set(given) - set(declared):
                return 400, {"message": f"parameters lack {lacking} and have {set(given) - set(declared)}"}
        made = {**content, _IDS[kind]: str(uuid.uuid4())}
        if kind == "runs":
            made["state"] = "PENDING"
        self.made[kind][made[_IDS[kind]]] = made
        return 200, made


def _matching(found: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
        wanted, key = predicate["stringValue"], predicate["key"]
        if predicate["operation"] == 1:
            found = [one for one in found if one[key] == wanted]
        elif predicate["operation"] == 9:
            found = [one for one in found if wanted in one[key]]
        else:
            raise AssertionError(predicate)
    return found


def _unknown(content: Any, kind: str) -> str | None:
    """A field that the published model does not have."""
    model = getattr(kfp_server_api, kind, None)
    if model is None or not hasattr(model, "openapi_types") or not isinstance(content, dict):
        return None
    by_name = {model.attribute_map[name]: found for name, found in model.openapi_types.items()}
    for name, value in content.items():
        if name not in by_name:
            return f"{kind}.{name}"
        if (inner := _unknown(value, by_name[name])) is not None:
            return inner
    return None
