"""A double of the Kubernetes API server, whose kubelet runs a pod's command as a local process.

It keeps what was seen on a real cluster: a pod is Pending, then Running, then Succeeded or Failed
with an exit code; a process above its memory limit is OOMKilled; an image that is not there is not
pulled; a pod that is too big stays Pending; deleting a pod ends all its processes.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import parse_qs, urlsplit

import psutil
import yaml
from kubernetes.utils.quantity import parse_quantity

from tests.kubernetes.strict import invalid, unknown

NODE = {"memory": "8Gi", "cpu": "4"}
NODE_LABELS = {"kubernetes.io/os": "linux"}
PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+))?(/log)?")
EVENTS = re.compile(r"/api/v1/namespaces/([^/]+)/events")


def now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Refused(Exception):
    """An answer that is an error: code, reason, message."""


class Pod:
    """A pod, and the process that stands for its container."""

    numbers = count(1)

    def __init__(self, cluster, body, namespace):
        self.cluster, self.body = cluster, body
        self.spec = body["spec"]
        self.container = self.spec["containers"][0]
        self.process = None
        self.killed = None  # the end to report for a process that the kubelet killed
        self.log = []  # (seconds, line)
        self.over = False  # its container has ended: nothing more will be logged
        self.held = None  # what the kubelet was told to do instead of reporting the end
        metadata = body["metadata"]
        metadata.update(uid=f"uid-{next(self.numbers)}", namespace=namespace)
        metadata.update(creationTimestamp=now(), resourceVersion="1")
        self.name = metadata["name"]
        body["status"] = {"phase": "Pending", "conditions": []}

    def fits(self):
        """Why no node takes the pod; empty if one does."""
        for what, asked in ((self.container.get("resources") or {}).get("requests") or {}).items():
            if what in NODE and parse_quantity(asked) > parse_quantity(NODE[what]):
                return f"0/1 nodes are available: 1 Insufficient {what}."
        selector = self.spec.get("nodeSelector") or {}
        if any(NODE_LABELS.get(key) != value for key, value in selector.items()):
            return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        return ""

    def live(self):
        """The pod's life on its node, in a thread of its own."""
        reason = self.fits()
        if reason:
            self.condition("PodScheduled", "False", "Unschedulable", reason)
            self.cluster.event(self, "FailedScheduling", reason, "Warning")
            return
        self.spec["nodeName"] = "node-1"
        self.condition("PodScheduled", "True")
        self.state(waiting={"reason": "ContainerCreating"})
        time.sleep(0.1)
        image = self.container["image"]
        if re.search(r"[^a-z0-9._/:@-]", image):
            self.state(waiting={"reason": "InvalidImageName", "message": f"bad name {image}"})
            return
        if self.cluster.images.get(image) is None:
            away = image in self.cluster.images
            why = self.cluster.registry if away else "not found"
            while True:
                message = f'failed to pull and unpack image "{image}": {why}'
                self.state(waiting={"reason": "ErrImagePull", "message": message})
                self.cluster.event(self, "Failed", message, "Warning")
                time.sleep(0.5)  # an older kubelet does not repeat the reason while it waits
                message = f'Back-off pulling image "{image}"'
                self.state(waiting={"reason": "ImagePullBackOff", "message": message})
                if away or self.name not in self.cluster.pods:
                    break
                time.sleep(0.5)  # and then tries again
            while self.cluster.images.get(image) is None:
                time.sleep(0.05)
                if self.name not in self.cluster.pods:
                    return
        self.run(str(self.cluster.images[image]))

    def run(self, programs):
        environment = {"PATH": programs}
        for variable in self.container.get("env") or []:
            environment[variable["name"]] = expanded(variable["value"], environment)
        words = [*(self.container.get("command") or []), *(self.container.get("args") or [])]
        program, *rest = (expanded(word, environment) for word in words)
        found = shutil.which(program, path=programs)
        if found is None:
            message = f'exec: "{program}": executable file not found in $PATH'
            self.ended(128, "StartError", message)
            return
        if "deletionTimestamp" in self.body["metadata"]:
            return
        self.process = subprocess.Popen(
            [found, *rest],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        self.body["status"]["phase"] = "Running"
        self.body["status"]["startTime"] = now()
        self.state(running={"startedAt": now()})
        threading.Thread(target=self.watch_memory, daemon=True).start()
        with self.process:
            for line in self.process.stdout:
                self.log.append((time.time(), line))
        code = self.process.returncode
        if self.held is None:
            self.ended(*(self.killed or (code if code >= 0 else 128 - code, None, None)))

    def watch_memory(self):
        limit = ((self.container.get("resources") or {}).get("limits") or {}).get("memory")
        while limit and self.process.poll() is None:
            with contextlib.suppress(psutil.Error):
                tree = [psutil.Process(self.process.pid)]
                tree += tree[0].children(recursive=True)
                if sum(one.memory_info().rss for one in tree) > parse_quantity(limit):
                    self.killed = (137, "OOMKilled", None)
                    self.signal(signal.SIGKILL)
            time.sleep(0.02)

    def ended(self, code, reason=None, message=None):
        reason = reason or ("Completed" if code == 0 else "Error")
        end = {"exitCode": code, "reason": reason, "finishedAt": now(), "startedAt": now()}
        self.state(terminated={**end, **({"message": message} if message else {})})
        if not self.cluster.sidecars:
            self.body["status"]["phase"] = "Failed" if code else "Succeeded"
        self.over = True

    def evict(self):
        """As the kubelet does when its node is short of memory."""
        self.held = "evicted"
        self.signal(signal.SIGKILL)
        self.ended(137)
        message = "The node was low on resource: memory."
        self.body["status"].update(phase="Failed", reason="Evicted", message=message)

    def preempt(self):
        """As the scheduler does when a pod of more weight needs the room."""
        self.held = "preempted"
        self.signal(signal.SIGTERM)
        reason, message = "PreemptionByScheduler", "preempting to accommodate another pod"
        self.condition("DisruptionTarget", "True", reason, message)
        self.ended(143)

    def lose(self):
        """As it looks when the node is gone: Running, not ready, marked as deleted."""
        self.held = "lost"
        self.signal(signal.SIGKILL)
        self.condition("Ready", "False")
        self.body["metadata"]["deletionTimestamp"] = now()

    def delete(self, grace):
        """SIGTERM to the whole group, SIGKILL after ``grace`` seconds, and then the pod is gone."""
        self.body["metadata"].setdefault("deletionTimestamp", now())
        if self.held == "lost":
            return
        self.signal(signal.SIGTERM)
        end = time.monotonic() + grace
        while self.process and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        self.signal(signal.SIGKILL)
        self.over = True
        self.cluster.pods.pop(self.name, None)

    def signal(self, number):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def state(self, **state):
        status = {"name": self.container["name"], "image": self.container["image"], "imageID": ""}
        status |= {"ready": "running" in state, "restartCount": 0, "state": state}
        self.body["status"]["containerStatuses"] = [status]

    def condition(self, kind, status, reason=None, message=None):
        entry = {"type": kind, "status": status, "reason": reason, "message": message}
        self.body["status"]["conditions"].append(entry)


def expanded(text, environment):
    """As the kubelet does: $(NAME) is replaced where NAME is known, $$ is one $."""

    def one(match):
        if match[0] == "$$":
            return "$"
        return environment.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


class Cluster:
    """The API server.

    ``images``: which are there, and the folder of their programs; None: the registry is down.
    """

    def __init__(self, images):
        self.images = images
        self.pods, self.made, self.events, self.asked = {}, [], [], []
        self.away_until, self.away_how = 0.0, 503
        self.sidecars = False  # a container beside ours never ends: the phase stays Running
        self.registry = "503 Service Unavailable"  # what is said of one that is down
        self.rules = None  # of the account that asks (of a Role); None: it may do all
        self.log_fault = None  # the answer to whoever asks for a log, if it cannot be had
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients that went away
        self.server.cluster = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def kubeconfig(self, path):
        """Writes the file that a client needs."""
        server = f"http://127.0.0.1:{self.server.server_address[1]}"
        text = yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "double", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "secret-token"}}],
                "contexts": [{"name": "c", "context": {"cluster": "double", "user": "u"}}],
                "current-context": "c",
            }
        )
        path.write_text(text)
        return path

    def away(self, seconds, how=503):
        """Answer 503 to everything for some seconds, or ("cut") nothing at all."""
        self.away_until, self.away_how = time.monotonic() + seconds, how

    def close(self):
        for pod in list(self.pods.values()):
            pod.signal(signal.SIGKILL)
        self.server.shutdown()
        self.server.server_close()

    def event(self, pod, reason, message, kind="Normal"):
        number = len(self.events) + 1
        involved = {"kind": "Pod", "name": pod.name, "namespace": pod.body["metadata"]["namespace"]}
        self.events.append(
            {
                "metadata": {"name": f"{pod.name}.{number}", "uid": f"event-{number}"}
                | {"namespace": involved["namespace"], "resourceVersion": str(number)},
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "type": kind,
            }
        )

    def create(self, body, namespace):
        if faults := list(unknown(body, "V1Pod")):
            text = ", ".join(f'unknown field "{fault}"' for fault in faults)
            raise Refused(400, "BadRequest", f"strict decoding error: {text}")
        if faults := list(invalid(body)):
            raise Refused(422, "Invalid", f"Pod is invalid: {'; '.join(faults)}")
        if body["metadata"]["name"] in self.pods:
            raise Refused(409, "AlreadyExists", "pods already exists")
        pod = self.pods[body["metadata"]["name"]] = Pod(self, body, namespace)
        self.made.append(pod)
        threading.Thread(target=pod.live, daemon=True).start()
        return pod.body

    def find(self, name):
        if name not in self.pods:
            raise Refused(404, "NotFound", f'pods "{name}" not found')
        return self.pods[name]

    def matching(self, selector):
        return [pod.body for pod in list(self.pods.values()) if matches(pod.body, selector)]


def matches(body, selector):
    """Equality, inequality, existence and absence: what the operator asks for."""
    labels = body["metadata"].get("labels") or {}
    for part in filter(None, selector.split(",")):
        key, unequal, value = part.partition("!=")
        if unequal:
            fits = labels.get(key) != value
        elif part.startswith("!"):
            fits = part[1:] not in labels
        elif "=" not in part:
            fits = part in labels
        else:
            key, _, value = part.partition("=")
            fits = labels.get(key) == value
        if not fits:
            return False
    return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def handle_any(self):
        cluster, url = self.server.cluster, urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        cluster.asked.append((self.command, url.path, query))
        try:
            if time.monotonic() < cluster.away_until:
                if cluster.away_how == "cut":
                    self.close_connection = True
                    return
                raise Refused(503, "ServiceUnavailable", "the server is currently unavailable")
            self.allowed(cluster.rules, url.path, query)
            if pods := PODS.fullmatch(url.path):
                self.pods(cluster, *pods.groups(), query, body)
            elif EVENTS.fullmatch(url.path):
                self.events(cluster, query)
            else:
                raise Refused(404, "NotFound", f"no such path: {url.path}")
        except Refused as error:
            code, reason, message = error.args
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
            self.answer(code, {**status, "reason": reason, "message": message})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_PATCH = handle_any

    def allowed(self, rules, path, query):
        """As the API server does: what no rule gives is forbidden."""
        if rules is None:
            return
        pods = PODS.fullmatch(path)
        resource = "events" if pods is None else "pods/log" if pods[3] else "pods"
        several = pods is None or pods[2] is None
        watch = query.get("watch") in ("true", "True")
        reads = "watch" if watch else "list" if several else "get"
        verb = {"POST": "create", "DELETE": "delete", "PATCH": "patch"}.get(self.command, reads)
        if not any(resource in rule["resources"] and verb in rule["verbs"] for rule in rules):
            raise Refused(403, "Forbidden", f"{resource} is forbidden: cannot {verb} resource")

    def pods(self, cluster, namespace, name, log, query, body):
        if log:
            self.send_log(cluster.find(name), query)
        elif self.command == "POST":
            self.answer(201, cluster.create(body, namespace))
        elif name is None:
            found = cluster.matching(query.get("labelSelector", ""))
            self.answer(200, {"kind": "PodList", "apiVersion": "v1", "items": found})
        elif self.command == "GET":
            self.answer(200, cluster.find(name).body)
        elif self.command == "PATCH":
            pod = cluster.find(name).body
            pod["metadata"].setdefault("labels", {}).update(body["metadata"]["labels"])
            self.answer(200, pod)
        else:
            pod = cluster.find(name)
            grace = body.get("gracePeriodSeconds") or query.get("gracePeriodSeconds")
            grace = grace or pod.spec.get("terminationGracePeriodSeconds", 30)
            threading.Thread(target=pod.delete, args=(float(grace),), daemon=True).start()
            self.answer(200, pod.body)

    def send_log(self, pod, query):
        if self.server.cluster.log_fault:
            raise Refused(*self.server.cluster.log_fault)
        state = pod.body["status"].get("containerStatuses", [{"state": {}}])[0]["state"]
        if "running" not in state and "terminated" not in state:
            raise Refused(400, "BadRequest", "container is waiting to start")
        since = time.time() - float(query.get("sinceSeconds", 1e9))
        follow, stamped = (query.get(key) in ("true", "True") for key in ("follow", "timestamps"))
        self.begin_stream("text/plain")
        wanted = [entry for entry in pod.log if entry[0] >= since]
        sent = len(pod.log) - min(len(wanted), int(query.get("tailLines", len(wanted))))
        while True:
            over = pod.over
            for at, line in pod.log[sent:]:
                stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode()
                self.chunk((stamp if stamped else b"") + line)
                sent += 1
            if over or not follow:
                break
            time.sleep(0.05)
        self.chunk(b"")

    def events(self, cluster, query):
        name = query.get("fieldSelector", "").removeprefix("involvedObject.name=")
        fresh = int(query.get("resourceVersion") or 0)
        if query.get("watch") not in ("true", "True"):
            found = [one for one in cluster.events if one["involvedObject"]["name"] == name]
            metadata = {"resourceVersion": str(len(cluster.events))}
            body = {"kind": "EventList", "apiVersion": "v1", "metadata": metadata, "items": found}
            return self.answer(200, body)
        self.begin_stream("application/json")
        end = time.monotonic() + float(query.get("timeoutSeconds", 30))
        while time.monotonic() < end:
            for one in cluster.events[fresh:]:
                if one["involvedObject"]["name"] == name:
                    self.chunk(json.dumps({"type": "ADDED", "object": one}).encode() + b"\n")
            fresh = len(cluster.events)
            time.sleep(0.05)
        return self.chunk(b"")

    def answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        """One chunk; an empty one is the end."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()
