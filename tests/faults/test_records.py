"""Records that were altered: never believed, never for ever, never verified."""

import json

import pytest

from tbseg_ops import steps
from tbseg_ops.errors import IntegrityError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.status import status
from tests.runs import copied, datasets, same, through

TILE = "z001_y000_x001"


def alter(run, step, name, /, **changes):
    path = run / "records" / step / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_record_under_another_name_is_made_anew(finished, tmp_path):
    run = copied(finished, tmp_path)
    alter(run, "ingest", "slab_00000", name="slab_00007")
    alter(run, "split", TILE, step="classify")
    through(run)
    assert status(run=run).verified
    assert RunFolder(run).records("ingest").get("slab_00000").name == "slab_00000"
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))


@pytest.mark.parametrize("how", ["another number", "exchanged"])
def test_counts_that_are_not_those_of_the_file_are_noticed_and_mended(how, finished, tmp_path):
    run = copied(finished, tmp_path)
    right = RunFolder(run).records("classify").get(TILE).counts
    assert right[0] != right[1]
    altered = (right[0] + 1, *right[1:]) if how == "another number" else right[::-1]
    alter(run, "classify", TILE, counts=altered)
    with pytest.raises(IntegrityError, match=f"{TILE}: its record counts other voxels") as caught:
        steps.verify(run=run)
    assert not status(run=run).verified
    assert f"tbseg repair {run}" in caught.value.mend
    results = through(run)
    assert results["classify"].computed == 0  # the file is right: it is taken as it is
    assert status(run=run).verified
    assert RunFolder(run).records("classify").get(TILE).counts == right
