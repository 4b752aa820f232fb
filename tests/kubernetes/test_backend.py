"""The kubernetes backend: Airflow's own operator and trigger against a double of the API server."""

import asyncio
import json
import re
import threading
import time

import psutil
import pytest

from tests.kubernetes.conftest import APPLIED, first

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports

REPORT = "import json, sys\nprint(json.dumps({'computed': 2, 'argv': sys.argv[1:], 'on': True}))"
SLEEPS = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def failed(task):
    """The exception of one try, and whether Airflow would try again."""
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(Exception, match=r"\w") as caught:
        task.run()
    return str(caught.value), not isinstance(caught.value, AirflowFailException)


def logged(capsys):
    return re.findall(r"\[(\w+) *\] (.*?) +\[airflow", capsys.readouterr().out)


def test_the_report_comes_home(task, programs, cluster, capsys):
    programs("import sys\nprint('warning: nearly full', file=sys.stderr, flush=True)\n" + REPORT)
    expected = {"computed": 2, "on": True, "instance": "classify", "clear_number": 0}
    assert task(what=3).run() == expected
    until(lambda: cluster.pods == {})
    assert ("warning", "warning: nearly full") in logged(capsys)


def test_a_calibration_has_what_its_tiles_will_have(task, programs, cluster, variable):
    variable(memory={"classify": "1Gi"})
    programs(REPORT)
    task(step="calibrate", task_id="calibrate").run()
    (made,) = cluster.made
    assert made.container["resources"]["limits"]["memory"] == "1Gi"


@pytest.mark.parametrize(("measured", "pods"), [(0, 0), (2, 1)])
def test_a_calibration_of_nothing_has_no_pod(task, programs, cluster, monkeypatch, measured, pods):
    from airflow.sdk.exceptions import TaskDeferred
    from tbseg_airflow.operators.forecast import TbsegCalibrate

    programs(REPORT)
    monkeypatch.setattr(TbsegCalibrate, "call", lambda self, arguments: {"words": arguments[1]})
    made = task(task_id="calibrate")
    machines = {"places": 4, "slots": {"a pod": 4}, "measured": measured, "shares": 1}
    made.ti.xcom_pull = lambda **values: machines
    step = TbsegCalibrate(task_id="calibrate", run_dir="/run", what="0/1", backend="kubernetes")
    try:
        assert step.execute(made.context())["words"] == "calibrate"
    except TaskDeferred:
        until(lambda: cluster.made[0].over)
    assert len(cluster.made) == pods


def test_the_pod(task, programs, cluster, variable):
    variable(
        memory={"classify": "1Gi"}, cpu={"classify": "500m"}, paths={"/run": "/mnt"},
        service_account="batch", node_selector={"kubernetes.io/os": "linux"},
    )  # fmt: skip
    programs(REPORT)
    task(options=["--threads=1"]).run()
    (made,) = cluster.made
    assert made.spec["automountServiceAccountToken"] is False
    assert made.spec["serviceAccountName"] == "batch"
    assert made.spec["restartPolicy"] == "Never"
    assert made.spec["securityContext"]["runAsNonRoot"] is True
    container = made.container
    assert container["command"] == ["tbseg"]
    assert container["args"] == ["classify", "--run=/mnt", "--json", "--threads=1"]
    assert {"name": "TBSEG_PATHS", "value": "/run=/mnt"} in container["env"]
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert container["resources"]["requests"]["memory"] == "1Gi"
    assert container["resources"]["requests"]["cpu"] == "500m"
    assert {mount["name"] for mount in container["volumeMounts"]} == {"data", "tmp", "shm"}
    assert not [one for one in made.spec["volumes"] if "projected" in one or "secret" in one]
    assert made.name.startswith("tbseg-classify-")


NASTY = ["a b", "$(PATH)", "$$(PATH)", "$", "`x`", "'\"", "; false", "*", "{{ ti }}", "\N{SNOWMAN}"]


def test_arguments_arrive_as_they_are(task, programs):
    programs("import json, sys\nprint(json.dumps({'argv': json.dumps(sys.argv[1:])}))")
    run = '/data/$(HOME) brain\'s "7"'
    argv = json.loads(task(run_dir=run, options=NASTY).run()["argv"])
    assert argv == ["classify", f"--run={run}", "--json", *NASTY]


def test_merge_runs_under_mpi(task, programs, cluster, variable):
    variable(ranks=3, images={"merge": "registry/mpi:1"})
    cluster.images["registry/mpi:1"] = programs.folder
    programs(REPORT, name="mpiexec")
    task(step="merge").run()
    container = cluster.made[0].container
    assert container["image"] == "registry/mpi:1"
    assert container["command"] == ["mpiexec"]
    inner = ["tbseg", "merge", "--run=/run", "--json"]
    assert container["args"] == ["--bind-to", "none", "-n", "3", *inner]


MESSAGE = "slices are missing\n  file: /data\n  expected: 40\n  found: 39"


@pytest.mark.parametrize(
    ("code", "again"),
    [(2, False), (65, False), (70, False), (78, False), (74, True), (75, True), (143, True)],
)
def test_exit_codes(task, programs, cluster, code, again):
    programs(
        "import sys\nprint('warning: before', file=sys.stderr)\n"
        f"print({'error: ' + MESSAGE!r}, file=sys.stderr)\nsys.exit({code})"
    )
    assert failed(task()) == (MESSAGE, again)
    until(lambda: cluster.pods == {})


def test_an_object_comes_home_in_the_one_log_of_a_pod(task, programs):
    from tbseg_ops.errors import IntegrityError

    error = IntegrityError("a slab is damaged", file="/run/x", found=3)
    programs(
        f"import sys\nprint({error.to_json()!r}, flush=True)\n"
        "print('mpiexec: noise', file=sys.stderr)\nsys.exit(1)"
    )
    assert failed(task()) == (str(error), True)


def test_a_pod_that_a_signal_ended(task, programs):
    programs("import os\nos.kill(os.getpid(), 15)")
    text, again = failed(task())
    assert (text, again) == ("tbseg classify was ended by SIGTERM without saying why", True)


def test_a_pod_that_somebody_killed_is_not_out_of_memory(task, programs, cluster):
    """It ends with the same exit code, but it is being deleted."""
    programs("import os\nos.kill(os.getpid(), 9)")
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].over)
    cluster.made[0].body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(Exception, match="was ended by SIGKILL"):
        made.end(trigger)
    assert "tbseg_out_of_memory" not in made.store


def test_no_result(task, programs):
    programs("print('well')")
    assert failed(task()) == ("tbseg classify ended well but printed no result", True)


NEEDS = "import time\nkept = bytearray(90 << 20)\ntime.sleep(0.5)\n" + REPORT


def test_more_memory_after_it_ran_out(task, programs, cluster, variable):
    variable(memory={"classify": "64Mi"})
    programs(NEEDS)
    made = task()
    text, again = failed(made)
    assert again
    assert re.match(r"the pod was killed for want of memory(.|\n)*limit: 64Mi(.|\n)*mend:", text)
    assert made.run()["computed"] == 2
    memory = [pod.container["resources"]["limits"]["memory"] for pod in cluster.made]
    assert memory == ["64Mi", "128Mi"]
    assert [pod.container["resources"]["requests"]["memory"] for pod in cluster.made] == memory


def test_memory_grows_each_time_up_to_a_ceiling(task, programs, cluster, variable):
    variable(memory={"classify": "10Mi"})
    programs(NEEDS)
    made = task()
    found = [failed(made) for _ in range(3)]
    assert [again for _, again in found] == [True, True, False]
    assert "the next one gets twice as much" in found[1][0]
    assert "this was the most" in found[2][0]
    memory = [pod.container["resources"]["limits"]["memory"] for pod in cluster.made]
    assert memory == ["10Mi", "20Mi", "40Mi"]


def test_memory_that_was_raised_by_hand_is_taken_as_it_is(task, programs, cluster, variable):
    variable(memory={"classify": "20Mi"})
    programs(NEEDS)
    made = task()
    failed(made)
    variable(memory={"classify": "200Mi"})
    assert made.run()["computed"] == 2
    memory = [pod.container["resources"]["limits"]["memory"] for pod in cluster.made]
    assert memory == ["20Mi", "200Mi"]


def test_eviction(task, programs, cluster):
    programs(SLEEPS)
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].log)
    cluster.made[0].evict()
    with pytest.raises(Exception, match=r"the cluster ended the pod .*: Evicted(.|\n)*low on reso"):
        made.end(trigger)
    assert "tbseg_out_of_memory" not in made.store
    programs(REPORT)
    assert made.run()["computed"] == 2


def test_preemption(task, programs, cluster):
    programs(SLEEPS)
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].log)
    cluster.made[0].preempt()
    with pytest.raises(Exception, match="PreemptionByScheduler") as caught:
        made.end(trigger)
    assert type(caught.value).__name__ == "StepFailed"


def test_a_drained_node(task, programs, cluster):
    """The pod is deleted, and nothing tells of its end."""
    programs(SLEEPS)
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].log)
    cluster.made[0].delete(5)
    with pytest.raises(Exception, match=r"the pod tbseg-classify-\w+ is gone") as caught:
        made.end(trigger)
    assert type(caught.value).__name__ == "StepFailed"


def test_a_lost_node(task, programs, cluster, monkeypatch):
    """The pod stays Running for ever, and deleting it does nothing; the next try has a new one."""
    from tbseg_airflow.backends.kubernetes import trigger

    monkeypatch.setattr(trigger, "LOST_SECONDS", 1.0)
    programs(SLEEPS)
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].log)
    cluster.made[0].lose()
    with pytest.raises(Exception, match="the node node-1 is lost") as caught:
        made.end(trigger)
    assert type(caught.value).__name__ == "PodStuckError"
    programs(REPORT)
    assert made.run()["computed"] == 2
    assert len(cluster.made) == 2


def test_a_pod_that_ended_while_nobody_looked(task, programs, cluster):
    """What is finished is kept by the run folder: the command is run again, and finds it."""
    programs(REPORT)
    made = task()
    made.start()
    until(lambda: cluster.made[0].over)
    assert made.run()["computed"] == 2
    assert len(set(made.pods)) == 2
    until(lambda: cluster.pods == {})


@pytest.mark.parametrize("image", ["registry/no-such:1", "registry/Bad Name"])
def test_an_image_that_cannot_be_had(task, cluster, variable, image):
    variable(image=image)
    text, again = failed(task())
    assert not again
    assert re.match(rf"the image of the pod cannot be had\n  image: {image}\n(.|\n)*mend:", text)
    until(lambda: cluster.pods == {})


WHYS = ["503 Service Unavailable", "dial tcp 10.0.0.9:5000: connect: connection refused"]


@pytest.mark.parametrize("why", WHYS)
def test_a_registry_that_is_down(task, cluster, variable, why):
    variable(startup_seconds=2)
    cluster.registry = why
    cluster.images["registry/tbseg:1"] = None
    text, again = failed(task())
    assert again
    assert re.search(
        r"did not come to an end\n  found: ImagePullBackOff: (.|\n)*More than 2s", text
    )
    until(lambda: cluster.pods == {})


@pytest.mark.parametrize("why", WHYS)
def test_a_registry_that_comes_back(task, programs, cluster, why):
    programs(REPORT)
    cluster.registry = why
    cluster.images["registry/tbseg:1"] = None
    made = task()
    trigger = made.start()
    threading.Timer(1.5, cluster.images.update, [{"registry/tbseg:1": programs.folder}]).start()
    assert made.end(trigger)["computed"] == 2
    assert len(cluster.made) == 1


def test_a_container_beside_ours_that_never_ends(task, programs, cluster):
    """The pod's phase stays Running; what counts is the container that does the work."""
    cluster.sidecars = True
    programs(REPORT)
    assert task().run()["computed"] == 2
    programs("import sys\nprint('error: no', file=sys.stderr)\nsys.exit(65)")
    assert failed(task(map_index=1)) == ("no", False)
    until(lambda: cluster.pods == {})


@pytest.mark.parametrize(("program", "code"), [("", 500), ("sys.exit(75)", 403)])
def test_a_log_that_cannot_be_had_does_not_fail_what_ended_well(
    task, programs, cluster, capsys, program, code
):
    """The exit code tells, and the run folder has the result."""
    programs(f"import sys\n{program}\n" + REPORT)
    cluster.log_fault = (code, "Reason", "the kubelet does not answer")
    if program:
        text, again = failed(task())
        assert (text, again) == ("tbseg classify ended with exit code 75 without saying why", True)
    else:
        assert task().run() == {"instance": "classify", "clear_number": 0}
        warned = [text for level, text in logged(capsys) if level == "warning"]
        assert any("its log cannot be read" in text for text in warned)
    until(lambda: cluster.pods == {})


@pytest.mark.parametrize("status", ["success", "error", "timeout"])
def test_a_pod_that_failed_is_no_success_whatever_the_trigger_says(task, programs, cluster, status):
    programs("import sys\nprint('error: no', file=sys.stderr)\nsys.exit(65)")
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].over)
    event = {"status": status, "message": "m", "name": trigger.pod_name, "namespace": "tbseg"}
    with pytest.raises(Exception, match=r"^no$") as caught:
        made.new().resume(made.context(), event)
    assert type(caught.value).__name__ == "StepRefused"


def test_a_pod_that_is_gone_is_no_success_whatever_the_trigger_says(task, programs, cluster):
    programs(REPORT)
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].over)
    cluster.made[0].delete(0)
    event = {"status": "success", "name": trigger.pod_name, "namespace": "tbseg"}
    with pytest.raises(Exception, match=r"the pod tbseg-classify-\w+ is gone"):
        made.new().resume(made.context(), event)


def test_an_unknown_phase_for_a_while(task, programs, cluster, tmp_path):
    go_on = tmp_path / "go-on"
    programs(
        f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n" + REPORT
    )
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].process)
    cluster.made[0].body["status"]["phase"] = "Unknown"
    threading.Timer(1.0, go_on.touch).start()
    assert made.end(trigger)["computed"] == 2


def test_an_unknown_phase_for_good(task, programs, cluster, monkeypatch):
    from tbseg_airflow.backends.kubernetes import trigger

    monkeypatch.setattr(trigger, "UNKNOWN_SECONDS", 1.0)
    programs(SLEEPS)
    made = task()
    waiting = made.start()
    until(lambda: cluster.made[0].log)
    unknown = {"phase": "Unknown"}  # once the trigger has seen it run
    threading.Timer(2.0, cluster.made[0].body["status"].update, [unknown]).start()
    with pytest.raises(Exception, match="nothing is known of pod") as caught:
        made.end(waiting)
    assert type(caught.value).__name__ == "PodStuckError"
    until(lambda: cluster.pods == {})


def test_a_next_try_does_not_warn_of_the_pod_that_was_removed(task, programs, cluster, capsys):
    programs("import sys\nsys.exit(75)")
    made = task()
    assert failed(made)[1]
    until(lambda: cluster.pods == {})
    programs(REPORT)
    capsys.readouterr()
    made.run()
    warned = [text for level, text in logged(capsys) if level == "warning"]
    assert [text for text in warned if "Task Runner" not in text] == []  # of this test's way


@pytest.mark.parametrize(
    ("kind", "verb", "what"),
    [("pods", "create", "to make the pod"), ("pods", "get", "to read the pod")],
)
def test_a_right_that_is_missing(task, programs, cluster, kind, verb, what):
    programs(SLEEPS)
    cluster.rules = [
        {
            **rule,
            "verbs": [one for one in rule["verbs"] if (kind, one) != (rule["resources"][0], verb)],
        }
        for rule in APPLIED["Role"]["rules"]
    ]
    with pytest.raises(
        Exception, match=rf"{what}(.|\n)*{verb}(.|\n)*the role of docs/kubernetes.md"
    ):
        task().run()


def test_an_image_without_tbseg(task, cluster):
    text, again = failed(task())
    assert not again
    assert re.search(r'could not start its program(.|\n)*"tbseg": executable file not', text)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"memory": {"classify": "64Gi"}}, "1 Insufficient memory"),
        ({"cpu": {"classify": "64"}}, "1 Insufficient cpu"),
        ({"node_selector": {"gpu": "yes"}}, "didn't match Pod's node affinity"),
    ],
)
def test_no_node_has_room(task, cluster, variable, values, found):
    variable(schedule_seconds=1, **values)
    text, again = failed(task())
    assert again
    assert re.match(rf"no node has room for the pod\n  requested: cpu (.|\n)*{found}", text)
    until(lambda: cluster.pods == {})


@pytest.mark.parametrize("how", [503, "cut"])
def test_the_api_server_is_away_for_a_while(task, programs, cluster, how):
    programs("import time\ntime.sleep(1)\n" + REPORT)
    made = task()
    trigger = made.start()
    cluster.away(4, how)
    assert made.end(trigger)["computed"] == 2
    assert len(cluster.made) == 1


def test_the_api_server_is_away_when_a_pod_is_made(task, programs, cluster):
    programs(REPORT)
    cluster.away(2)
    assert task().run()["computed"] == 2
    assert len(cluster.made) == 1


def test_the_api_server_is_away_for_long(task, programs, cluster, tmp_path):
    """A try fails, its pod goes on, and the next try finds it."""
    go_on = tmp_path / "go-on"
    programs(
        f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n" + REPORT
    )
    made = task()
    trigger = made.start()
    cluster.away(60, "cut")
    event = {"status": "error", "message": "away", "name": trigger.pod_name, "namespace": "tbseg"}
    with pytest.raises(Exception, match="cannot be reached: to read the pod") as caught:
        made.new().resume(made.context(), event)
    assert type(caught.value).__name__ == "StepFailed"
    cluster.away(0)
    trigger = made.start()
    go_on.touch()
    assert made.end(trigger)["computed"] == 2
    assert len(cluster.made) == 1


def test_an_error_of_the_trigger_does_not_end_a_pod_that_runs(task, programs, cluster, tmp_path):
    from airflow.sdk.exceptions import TaskDeferred

    programs("import time\ntime.sleep(2)\n" + REPORT)
    made = task()
    trigger = made.start()
    until(lambda: cluster.made[0].process)
    event = {"status": "error", "message": "lost", "name": trigger.pod_name, "namespace": "tbseg"}
    with pytest.raises(TaskDeferred) as deferred:
        made.new().resume(made.context(), event)
    assert made.end(made.handed_over(deferred.value))["computed"] == 2
    assert len(cluster.made) == 1


def test_a_command_that_runs_is_found_again(task, programs, cluster, tmp_path):
    """The worker died after it made the pod: with what Airflow stored, and without."""
    go_on = tmp_path / "go-on"
    programs(
        f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n" + REPORT
    )
    made = task(map_index=4)
    for forgets in (False, True):
        made.start()
        if forgets:
            made.store.clear()
    other = task(map_index=5).start()
    trigger = made.start()
    assert len(set(made.pods)) == 1
    assert other.pod_name not in made.pods
    go_on.touch()
    assert made.end(trigger)["computed"] == 2
    assert len(cluster.made) == 2


def test_cancel_ends_the_process(task, programs, cluster):
    """A person marks the task as failed: Airflow tells the trigger."""
    programs(
        "import subprocess, sys, time, os\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        "print(os.getpid(), child.pid, flush=True)\ntime.sleep(60)"
    )
    trigger = task().start()
    until(lambda: cluster.made[0].log)
    pids = [int(pid) for pid in cluster.made[0].log[0][1].split()]
    assert all(psutil.pid_exists(pid) for pid in pids)
    asyncio.run(trigger.on_kill())
    until(lambda: cluster.pods == {})
    until(lambda: not any(map(_runs, pids)))


@pytest.mark.parametrize("resumes", [False, True])
def test_a_task_that_is_ended_while_no_trigger_waits(task, programs, cluster, monkeypatch, resumes):
    """Before it is deferred, and after its trigger has ended: its pod does not stay."""
    from tbseg_airflow.backends.kubernetes.backend import StepPod

    programs(REPORT if resumes else SLEEPS)
    made, step = task(), task().new()

    def killed(self, *_, **__):
        step.on_kill()
        raise SystemExit

    if resumes:
        event = asyncio.run(first(made.start()))
        monkeypatch.setattr(StepPod, "_write_logs", killed)
        monkeypatch.setattr(StepPod, "_clean", lambda *_, **__: None)
    else:
        monkeypatch.setattr(StepPod, "defer", killed)
    with pytest.raises(SystemExit):
        step.resume(made.context(), event) if resumes else step.execute(made.context())
    until(lambda: cluster.pods == {})


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_triggerer_that_stops_leaves_the_pod(task, programs, cluster):
    programs(SLEEPS)
    trigger = task().start()
    until(lambda: cluster.made[0].log)
    asyncio.run(trigger.cleanup())
    assert list(cluster.pods) == [trigger.pod_name]


def test_the_log_comes_while_the_command_runs(task, programs, cluster, capsys, tmp_path):
    go_on = tmp_path / "go-on"
    programs(
        "import os, time\nprint('tile one', flush=True)\n"
        f"while not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n"
        "print('tile two')\n" + REPORT
    )
    made = task()
    trigger = made.start()
    texts = []

    async def wait():
        async def see():
            while not any("tile one" in text for text in texts):
                await asyncio.sleep(0.1)
                texts.append(capsys.readouterr().out)
            await asyncio.sleep(3)
            go_on.touch()

        event, _ = await asyncio.gather(first(trigger), see())
        return event

    event = asyncio.run(asyncio.wait_for(wait(), 30))
    assert made.new().resume(made.context(), event)["computed"] == 2
    end = capsys.readouterr().out
    assert "tile two" in end
    assert "tile one" not in end
    assert "'computed'" not in end


def test_what_is_printed_while_the_kubelet_is_away(task, programs, cluster, capsys, tmp_path):
    """It is read later, once, and the log says so."""
    files = [tmp_path / name for name in ("first", "second")]
    programs(
        "import os, time\nprint('tile zero', flush=True)\n"
        f"for number, file in enumerate({[str(file) for file in files]}):\n"
        "    while not os.path.exists(file): time.sleep(0.01)\n"
        "    print('tile', number, flush=True)\n" + REPORT
    )
    made = task()
    trigger = made.start()
    texts = []

    async def until_logged(text):
        while text not in "".join(texts):
            await asyncio.sleep(0.1)
            texts.append(capsys.readouterr().out)

    async def wait():
        async def see():
            await until_logged("tile zero")
            cluster.log_fault = (500, "InternalError", "dial tcp 10.0.0.2:10250: refused")
            files[0].touch()
            await until_logged("the pod's log cannot be read now, but will be later")
            await asyncio.sleep(3)
            cluster.log_fault = None
            files[1].touch()

        event, _ = await asyncio.gather(first(trigger), see())
        return event

    event = asyncio.run(asyncio.wait_for(wait(), 30))
    assert made.new().resume(made.context(), event)["computed"] == 2
    said = "".join(texts) + capsys.readouterr().out
    assert [said.count(f"tile {number}") for number in ("zero", 0, 1)] == [1, 1, 1]
    assert said.count("cannot be read now") == 1


def test_a_log_that_is_too_long_is_told(task, programs, cluster, monkeypatch, capsys):
    from tbseg_airflow.backends.kubernetes import backend

    monkeypatch.setattr(backend, "TAIL_LINES", 3)
    programs("print('one\\ntwo\\nthree')\n" + REPORT)
    assert task().run()["computed"] == 2
    said = capsys.readouterr().out
    assert "of what the pod printed here are the last 3 lines" in said
    assert "three" in said


@pytest.mark.slow
def test_fifty_pods_at_once(task, programs, cluster, tmp_path):
    go_on = tmp_path / "go-on"
    programs(
        f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.1)\n" + REPORT
    )
    tasks = [task(map_index=index, what=index) for index in range(50)]
    triggers = [made.start() for made in tasks]
    until(lambda: len({pod.process.pid for pod in cluster.made if pod.process}) == 50)
    go_on.touch()

    async def all_of_them():
        return await asyncio.gather(*map(first, triggers))

    for made, event in zip(tasks, asyncio.run(all_of_them()), strict=True):
        assert made.new().resume(made.context(), event)["computed"] == 2
    until(lambda: cluster.pods == {})
    batches = {pod.container["args"][-1] for pod in cluster.made}
    assert batches == {f"--batch={index}" for index in range(50)}
