"""Row 35 of the table of faults: nothing of the environment reaches a run folder or the output."""

from tests.faults.rounds import unexpected
from tests.runs import VESSELS, files_below, stack, tbseg

CANARY = "canary-5e1a77"
NAMES = ("AIRFLOW_CONN_SECRET", "AWS_SECRET_ACCESS_KEY", "OPENLINEAGE_API_KEY", "TOKEN", "USER")


def test_a_planted_token_is_in_no_file_of_a_run(tmp_path):
    run = tmp_path / "run"
    done = tbseg(
        *("run", stack(tmp_path / "slices"), VESSELS.classifier, run, "--tile", "20,24,30"),
        *("--workers", "2", "--json"),
        **dict.fromkeys(NAMES, CANARY),
    )
    assert done.returncode == 0, done.stderr
    assert unexpected(done.stderr) == []
    files = files_below(run)
    assert {"report.html", "ro-crate-metadata.json", "records/merge/volume.json"} <= files
    found = {name for name in files if CANARY.encode() in (run / name).read_bytes()}
    assert found == set()
    assert CANARY not in done.stdout + done.stderr
