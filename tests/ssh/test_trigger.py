"""Batches over several hosts: whatever happens to one, all is right and nothing runs twice."""

import asyncio
import json
import os
import signal
import socket
import sys
import time

import pytest

from tests.runs import datasets, planned, same, through

TILE, TILES = (20, 24, 30), 8  # more jobs than places on three hosts
TILES_24 = (20, 12, 20)  # what the slow tests take


def trigger_of(run, settings, step="classify", batch=0, job=None, **options):
    from tbseg_airflow.backends.ssh.trigger import SshTrigger

    chosen = [f"--batch={batch}"] if step in ("split", "classify") else []
    more = [f"--{key}={value}" for key, value in options.items()]
    return SshTrigger(
        job=job or f"{step}-{batch}",
        arguments=[step, f"--run={run}", "--json", "--workers=1", *chosen, *more],
        run=str(run),
        title=f"tbseg {step}",
        settings=settings,
    )


async def ended(trigger):
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


def together(run, settings, step, batches, meanwhile=None):
    """All batches of a step at once; their events in order."""

    async def all_of_them():
        tasks = [ended(trigger_of(run, settings, step, b)) for b in range(batches)]
        others = [meanwhile()] if meanwhile else []
        return (await asyncio.gather(*tasks, *others))[: len(tasks)]

    return asyncio.run(all_of_them())


@pytest.fixture(scope="module")
def local(finished):
    """The result on one machine: no tiling changes a byte of it."""
    return datasets(finished / "run" / "segmentation.h5")


@pytest.fixture
def run(finished, tmp_path):
    made = planned(tmp_path / "run", finished / "slices", tile=TILE, max_batches=TILES)
    assert (len(made.grid), made.batches) == (TILES, TILES)
    through(tmp_path / "run", until="ingest")
    return tmp_path / "run"


def computed(events):
    assert [event.get("code") for event in events] == [0] * len(events), events
    return sum(event["transcript"]["report"]["computed"] for event in events)


def test_a_run_over_three_hosts(rack, run, local):
    made = rack(3)
    for step in ("split", "classify"):
        events = together(run, made.settings(), step, TILES)
        assert computed(events) == TILES
        assert len({event["host"] for event in events}) == 3
    through(run)
    assert same(datasets(run / "segmentation.h5"), local)
    assert list((run / "jobs").iterdir()) == []  # no claim is left


def test_a_fast_host_helps_a_slow_one(rack, finished, tmp_path, monkeypatch, local):
    """Both have one batch of four tiles; the fast one is done, and takes tiles of the other.

    It is not so fast that it would be done before the other has begun.
    """
    run = tmp_path / "run"
    planned(run, finished / "slices", tile=TILE, max_batches=2)
    through(run, until="split")
    made = rack(2)
    for host, seconds in zip(made.hosts, (1.5, 4), strict=True):
        program = tmp_path / f"tbseg-{seconds}"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.ssh.slow {seconds} "$@"\n')
        program.chmod(0o755)
        host.extra = {"slots": 1, "tbseg": str(program)}
        monkeypatch.setenv(f"AIRFLOW_CONN_{host.conn_id.upper()}", host.connection())
    events = together(run, made.settings(), "classify", 2)
    assert sorted(event["host"][-7:] for event in events) == ["(host1)", "(host2)"]
    reports = {event["host"][-7:]: event["transcript"]["report"] for event in events}
    helped = reports["(host1)"]["helped"]
    assert reports["(host1)"]["computed"] == 4
    assert 1 <= helped <= 3
    assert reports["(host2)"]["reused"] >= helped - 1  # one may be computed twice
    through(run)
    assert same(datasets(run / "segmentation.h5"), local)


@pytest.mark.parametrize("back", [True, False])
def test_a_host_that_is_cut_off_in_the_middle(back, rack, run, local):
    """Its jobs go on without a connection; only when it stays away are they done elsewhere."""
    made = rack(3, seconds=1)
    lost = made.hosts[1]

    async def cut():
        while not any(json.loads(c.read_text())["host"] == "host2" for c in claims(run)):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        lost.signal(signal.SIGKILL)
        if back:
            await asyncio.sleep(2)
            lost.start()

    events = together(run, made.settings(), "classify", TILES, cut)
    assert computed(events) <= TILES  # what the lost host had finished is recognised
    through(run)
    assert same(datasets(run / "segmentation.h5"), local)


def test_a_host_that_hangs_stops_nobody(rack, run, monkeypatch, local):
    """A stopped server accepts connections and says nothing.

    A host that is slow to answer on a busy machine may be taken for another one: what it had
    computed is found done, then.
    """
    monkeypatch.setattr("tbseg_airflow.backends.ssh.link.ANSWER_SECONDS", 4.0)
    monkeypatch.setattr("tbseg_airflow.backends.ssh.link.CONNECT_SECONDS", 4.0)
    made = rack(3)
    made.hosts[0].signal(signal.SIGSTOP)
    start = time.monotonic()
    events = together(run, made.settings(), "classify", TILES)
    assert {event["host"][-7:] for event in events} == {"(host2)", "(host3)"}
    assert computed(events) <= TILES
    assert time.monotonic() - start < 90
    through(run)
    assert same(datasets(run / "segmentation.h5"), local)
    made.hosts[0].signal(signal.SIGCONT)


def claims(run):
    return list((run / "jobs").glob("*.json")) if (run / "jobs").exists() else []


def test_a_triggerer_that_is_started_anew_finds_its_jobs(rack, run):
    """Triggers are cancelled without a message when their process ends: the job goes on."""
    made = rack(2, seconds=2)

    async def twice():
        first = asyncio.create_task(ended(trigger_of(run, made.settings())))
        while not claims(run):
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert len(claims(run)) == 1
        return await ended(trigger_of(run, made.settings()))

    event = asyncio.run(twice())
    assert (event["code"], event["reason"]) == (0, None)
    assert event["transcript"]["report"]["computed"] == 1
    starts = [name for host in made.hosts for name in host.jobs.glob("classify-0/job.json")]
    assert len(starts) == 1


def test_a_task_that_is_called_off_ends_its_job(rack, run):
    made = rack(1, seconds=30)

    async def called_off():
        trigger = trigger_of(run, made.settings())
        task = asyncio.create_task(ended(trigger))
        while not list(made.hosts[0].jobs.glob("classify-0/out")):
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        start = time.monotonic()
        await trigger.on_kill()
        return time.monotonic() - start

    assert asyncio.run(called_off()) < 30
    exit_file = made.hosts[0].jobs / "classify-0" / "exit.json"
    assert json.loads(exit_file.read_text())["reason"] == "it was called off"
    assert claims(run) == []
    assert not list((run / "classes").glob("*")) if (run / "classes").exists() else True


def test_a_try_after_a_failed_one_is_a_new_job(rack, run):
    made = rack(1)
    (run / "volume").rename(run / "gone")
    assert asyncio.run(ended(trigger_of(run, made.settings())))["code"] == 74
    (run / "gone").rename(run / "volume")
    assert asyncio.run(ended(trigger_of(run, made.settings())))["code"] == 0


@pytest.mark.parametrize("code", [65, 78])
def test_exit_codes_and_messages_come_home(code, rack, run):
    from tbseg_airflow.backends.ssh.backend import SshBackend
    from tbseg_airflow.outcome import StepRefused

    made = rack(1)
    if code == 78:
        event = asyncio.run(ended(trigger_of(run, made.settings(), batch=999)))
    else:
        plan = json.loads((run / "plan.json").read_text())
        plan["spec"]["classifier"], plan["seal"] = str(run / "plan.json"), ""
        (run / "plan.json").write_text(json.dumps(plan))
        (run / "spec.json").write_text(json.dumps(plan["spec"]))
        event = asyncio.run(ended(trigger_of(run, made.settings())))
    assert event["code"] == code
    assert event["transcript"]["report"]["error"]["retried"] is False
    with pytest.raises(StepRefused, match=r"expected|found"):
        SshBackend().resume(FakeStep(), {}, event)


class FakeStep:
    """As much of an operator as ``resume`` looks at."""

    step = "classify"
    log = None


def test_a_wrong_host_key_is_refused_and_the_others_work(rack, run, monkeypatch):
    import asyncssh

    made = rack(2)
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    made.hosts[0].extra = {"host_key": " ".join(other.split()[:2])}
    monkeypatch.setenv("AIRFLOW_CONN_HOST1", made.hosts[0].connection())
    events = together(run, made.settings(), "classify", 3)
    assert {event["host"][-7:] for event in events} == {"(host2)"}
    only = {**made.settings(), "hosts": ["host1"]}
    refused = asyncio.run(ended(trigger_of(run, only, batch=5)))
    assert "its key is not the known one" in refused["refused"]


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"no_host_key_check": "true"}, "host keys are always checked"),
        ({"slots": 0}, "slots"),
        ({"key_file": "/nonexistent"}, "a key in the connection cannot be read"),
        ({"tbseg": "/nonexistent/tbseg"}, "is not there"),
        ({"key_file": None}, "log-in was refused"),
    ],
)
def test_a_connection_that_cannot_be_used_is_named(extra, text, rack, run, monkeypatch):
    made = rack(1)
    made.hosts[0].extra = extra
    monkeypatch.setenv("AIRFLOW_CONN_HOST1", made.hosts[0].connection())
    refused = asyncio.run(ended(trigger_of(run, made.settings())))
    assert "host1" in refused["refused"]
    assert text in refused["refused"]


def test_another_name_of_the_shared_folder(rack, run, tmp_path, local):
    """The hosts see the folder elsewhere: run folder, volume and classifier."""
    made = rack(1)
    there = tmp_path / "there"
    there.symlink_to(tmp_path)
    plan = json.loads((run / "plan.json").read_text())
    spec = json.loads((run / "spec.json").read_text())
    for name in ("spec.json", "plan.json"):
        text = (run / name).read_text().replace(str(tmp_path), "/elsewhere")
        (run / name).write_text(text)
    assert plan["spec"] == spec
    text = (run / "plan.json").read_text()
    (run / "plan.json").write_text(text.replace(plan["seal"], ""))
    trigger = trigger_of(run, made.settings(paths={"/elsewhere": str(there)}))
    trigger.arguments = [a.replace(str(tmp_path), "/elsewhere") for a in trigger.arguments]
    event = asyncio.run(ended(trigger))
    assert event["code"] == 0, event


def test_a_launcher_stands_before_the_program(rack, run, monkeypatch):
    made = rack(1)
    made.hosts[0].extra = {"launcher": ["env", "TBSEG_LAUNCHED=yes"]}
    monkeypatch.setenv("AIRFLOW_CONN_HOST1", made.hosts[0].connection())
    event = asyncio.run(ended(trigger_of(run, made.settings())))
    assert event["code"] == 0
    job = json.loads((made.hosts[0].jobs / "classify-0" / "job.json").read_text())
    assert job["arguments"][:3] == ["env", "TBSEG_LAUNCHED=yes", str(made.program)]


def test_what_a_trigger_is_made_of_holds_no_secret(rack, run):
    made = rack(1)
    _, kwargs = trigger_of(run, made.settings()).serialize()
    text = json.dumps(kwargs)
    assert "PRIVATE" not in text
    assert str(made.folder / "client_key") not in text
    assert os.environ["AIRFLOW_CONN_HOST1"] not in text


def test_doctor_on_every_host(rack, run, monkeypatch):
    """One table: hosts that are away are noted, a wrong key or folder refuses the run."""
    import logging

    from tbseg_airflow.backends.ssh import preflight
    from tbseg_airflow.backends.ssh.backend import SshBackend
    from tbseg_airflow.outcome import StepRefused

    from tbseg_ops.hosts.doctor import leave_token

    monkeypatch.setattr(preflight, "PATIENCE_SECONDS", 8.0)
    made = rack(3)
    step = FakeStep()
    step.step, step.log, step.run_dir = "doctor", logging.getLogger("doctor"), str(run)

    def checked(token):
        leave_token(run, "right")
        trigger = preflight.SshPreflight(
            job="check",
            arguments=["doctor", f"--run={run}", "--json", f"--token={token}"],
            run=str(run),
            title="tbseg doctor",
            settings=made.settings(),
        )
        return SshBackend().resume(step, {}, asyncio.run(ended(trigger)))

    slots = {socket.gethostname(): 6}  # three names of this machine, two jobs each
    assert checked("right") == {"step": "doctor", "fit": 3, "hosts": 3, "slots": slots}
    made.hosts[2].signal(signal.SIGKILL)
    assert checked("right")["fit"] == 2
    with pytest.raises(StepRefused, match="not fit for this run: same folder"):
        checked("wrong")


def test_an_earlier_success_of_other_work_does_not_count(rack, run):
    """The triggerer died while the job ended; then the task came back with other arguments."""
    made = rack(2)

    async def dies():
        first = asyncio.create_task(ended(trigger_of(run, made.settings())))
        while not list(made.folder.glob("jobs/*/classify-0/exit.json")):
            await asyncio.sleep(0.02)
            if claims(run):
                kept = claims(run)[0], claims(run)[0].read_text()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        kept[0].write_text(kept[1])

    asyncio.run(dies())
    other = trigger_of(run, made.settings(), batch=3, job="classify-0")
    event = asyncio.run(ended(other))
    assert event["transcript"]["report"]["computed"] == 1
    again = asyncio.run(ended(trigger_of(run, made.settings())))
    assert again["transcript"]["report"]["reused"] == 1


def test_two_triggerers_with_one_trigger_start_one_job(rack, run):
    made = rack(2, seconds=1)

    async def both():
        found = [ended(trigger_of(run, made.settings())) for _ in range(2)]
        return await asyncio.gather(*found)

    events = asyncio.run(both())
    assert [event["code"] for event in events] == [0, 0]
    assert len(list(made.folder.glob("jobs/*/classify-0/job.json"))) == 1


def test_a_host_taken_out_of_the_setting_is_still_asked(rack, run):
    made = rack(2, seconds=2)

    async def moved():
        settings = made.settings()
        first = asyncio.create_task(ended(trigger_of(run, settings)))
        while not claims(run):
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        host = json.loads(claims(run)[0].read_text())["host"]
        others = [one for one in settings["hosts"] if one != host]
        return host, await ended(trigger_of(run, {**settings, "hosts": others}))

    host, event = asyncio.run(moved())
    assert event["host"].endswith(f"({host})")
    assert event["code"] == 0


def test_calling_off_spares_the_next_job_of_the_task(rack, run):
    """The old trigger's on_kill and the new trigger run at the same time."""
    made = rack(1, seconds=3)

    async def cleared():
        old = trigger_of(run, made.settings())
        task = asyncio.create_task(ended(old))
        while not list(made.hosts[0].jobs.glob("classify-0/out")):
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        _, event = await asyncio.gather(old.on_kill(), ended(trigger_of(run, made.settings())))
        return event

    event = asyncio.run(cleared())
    assert (event["code"], event["reason"]) == (0, None)


def test_an_agent_that_cannot_answer_says_nothing_about_the_job(rack, run):
    made = rack(2, seconds=4)

    async def hidden():
        task = asyncio.create_task(ended(trigger_of(run, made.settings())))
        while not (found := list(made.folder.glob("jobs/*/classify-0/out"))):
            await asyncio.sleep(0.02)
        found[0].rename(found[0].with_name("away"))
        found[0].mkdir()
        await asyncio.sleep(3)
        found[0].rmdir()
        found[0].with_name("away").rename(found[0])
        return await task

    assert asyncio.run(hidden())["code"] == 0
    assert len(list(made.folder.glob("jobs/*/classify-0/job.json"))) == 1
