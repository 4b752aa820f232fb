"""Pods that may not write to the run folder are refused before anything is planned."""

import logging
import os
import stat
from types import SimpleNamespace

import pytest
import yaml

from tests.kubernetes.conftest import TEMPLATE

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports

ME, OTHER = os.geteuid(), os.geteuid() + 1000


@pytest.fixture
def check(variable, tmp_path):
    """``check(run, umask, **securityContext)``: what is said, by a template of such pods."""

    def of(run, umask=0o022, container=None, **security):
        from tbseg_airflow.backends.kubernetes.owner import check_owner
        from tbseg_airflow.backends.kubernetes.settings import settings

        pod = yaml.safe_load(TEMPLATE.read_text())
        pod["spec"]["securityContext"] = security
        pod["spec"]["containers"][0]["securityContext"] = container or {}
        template = tmp_path / "template.yaml"
        template.write_text(yaml.safe_dump(pod))
        variable(pod_template=str(template))
        before = os.umask(umask)
        try:
            check_owner(run, settings(), logging.getLogger("check"))
        finally:
            os.umask(before)

    return of


def refused(check, *arguments, **values):
    from tbseg_airflow.outcome import StepRefused

    with pytest.raises(StepRefused) as caught:
        check(*arguments, **values)
    return str(caught.value)


def test_another_user(check, tmp_path):
    run = tmp_path / "runs/a/b"
    run.parent.parent.mkdir()
    text = refused(check, run, runAsUser=OTHER, runAsGroup=OTHER, fsGroup=OTHER + 1)
    group = run.parent.parent.stat().st_gid
    assert f"folder: {run}\n" in text
    assert f"user {OTHER} of groups [{OTHER}, {OTHER + 1}] may write" in text
    assert f"found: user {ME}, group {group}, mode 0755\n" in text
    for mend in ("runAsUser", "fsGroup", "umask 002", "chmod -R g+rwXs", "docs/kubernetes.md"):
        assert mend in text
    assert os.listdir(tmp_path / "runs") == []


def test_a_run_folder_that_is_there(check, tmp_path):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    assert "mode 0700" in refused(check, run, runAsUser=OTHER, runAsGroup=OTHER)
    run.chmod(0o777)
    check(run, runAsUser=OTHER, runAsGroup=OTHER)


def test_what_is_allowed(check, tmp_path):
    run = tmp_path / "run"
    group = tmp_path.stat().st_gid
    check(run, runAsUser=ME, runAsGroup=OTHER)
    check(run, runAsUser=0, runAsGroup=0)
    check(run, runAsUser=OTHER, runAsGroup=OTHER, container={"runAsUser": ME})
    for groups in ({"runAsGroup": group}, {"fsGroup": group}, {"supplementalGroups": [group]}):
        security = {"runAsUser": OTHER, "runAsGroup": OTHER} | groups
        check(run, umask=0o002, **security)
        assert "mode 0755" in refused(check, run, **security)


def test_what_cannot_be_told(check, tmp_path, monkeypatch, caplog):
    run = tmp_path / "run"
    pods = {"runAsUser": OTHER, "runAsGroup": OTHER}
    check(run, runAsNonRoot=True)  # the image's user
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.nfs4_acl"])
    check(run, **pods)
    assert "pods may not write to the run folder" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: ME + 1)  # the file server made up the owner
    check(run, **pods)


@pytest.mark.parametrize("backend", ["kubernetes", "local"])
def test_plan_asks_before_it_plans(check, tmp_path, monkeypatch, backend):
    from tbseg_airflow.operators.plan import TbsegPlan
    from tbseg_airflow.outcome import StepRefused

    run = tmp_path / "run"
    check(run, runAsUser=ME, runAsGroup=ME)  # sets the Variable
    template = tmp_path / "template.yaml"
    pod = yaml.safe_load(template.read_text())
    pod["spec"]["securityContext"] = {"runAsUser": OTHER, "runAsGroup": OTHER}
    template.write_text(yaml.safe_dump(pod))
    made = TbsegPlan(task_id="plan", home="/home")
    called = []
    monkeypatch.setattr(made, "command", lambda context: [])
    made.call = lambda command: (
        called.append(command)
        or {
            "run": "r",
            "tiles": 1,
            "batches": 1,
            "publish": [],
        }
    )
    params = {"dataset": None, "only_tiles": None, "run": str(run), "backend": backend}
    params |= {"volume": "/v", "classifier": "/c.ilp"}
    context = {
        "params": params,
        "dag": SimpleNamespace(params=params),
        "dag_run": SimpleNamespace(conf={}, clear_number=0),
        "ti": SimpleNamespace(xcom_push=lambda *values: None),
    }
    before = os.umask(0o022)
    try:
        if backend == "local":
            assert made.execute(context) == [0]
        else:
            with pytest.raises(StepRefused, match="pods may not write to the run folder"):
                made.execute(context)
            assert called == []
    finally:
        os.umask(before)


def test_the_mode_of_a_folder():
    from tbseg_airflow.backends.kubernetes.owner import may_write

    def made(mode):
        return SimpleNamespace(st_uid=5, st_gid=6, st_mode=stat.S_IFDIR | mode)

    assert may_write(made(0o700), 5, ())
    assert not may_write(made(0o077), 5, (6,))
    assert may_write(made(0o030), 7, (6,))
    assert not may_write(made(0o707), 7, (6,))
    assert may_write(made(0o703), 7, (8,))
    assert not may_write(made(0o776), 7, (8,))
