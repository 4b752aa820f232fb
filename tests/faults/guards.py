"""Guards taken away, one by one: a test must fail each time. ``python -m tests.faults.guards``

On copies of the tree a line that guards something is changed, and the test that should notice it is
run there: it must fail, as it must pass on the unchanged copy. A guard that no test misses may be
lost by the next change. Words behind the command choose guards by their names.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.airflow_home import ROOT
from tests.faults.outcomes import AT_ONCE, outcomes

_COPIES = 2  # of the tree, each without another guard
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build")


@dataclass(frozen=True)
class Guard:
    """``old``, which is in ``file`` exactly once, becomes ``new``: then ``test`` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


IDENTITY = "steps/test_identity.py::test_"
DAMAGE = "faults/test_damage.py::test_"
MERGE = (
    "steps/test_merge.py::test_a_tile_that_is_not_there_as_recorded_is_named_and_nothing_is_merged"
)
PAGES = "plugins/test_pages.py::test_"
NEVER = "if False:"

GUARDS = (
    # What is finished is what it was made from.
    Guard(
        "the key of a record",
        "tbseg_ops/run/done.py",
        "if record is not None and record.key == piece.key else None",
        "if record is not None else None",
        IDENTITY + "a_replaced_slice_recomputes_the_tiles_whose_halo_holds_it",
    ),
    Guard(
        "the key of a slab",
        "tbseg_ops/run/raw.py",
        'if (key := stamped(file, "key")) != piece.key:',
        'if (key := stamped(file, "key")) == "":',
        DAMAGE + "d8_a_slab_of_something_else_is_not_read[another place-copy]",
    ),
    Guard(
        "the key of a file without a record",
        "tbseg_ops/run/finish.py",
        'true = stamped(file, "key") == piece.key',
        "true = True",
        "faults/test_repair.py::test_a_file_of_another_run[slab]",
    ),
    Guard(
        "the content of a file without a record",
        "tbseg_ops/run/finish.py",
        "true and facts.content == content_of(file)",
        "true",
        "faults/test_repair.py::test_a_flipped_voxel[tile]",
    ),
    Guard(
        "the digest of a class file",
        "tbseg_ops/run/done.py",
        "return sha256_of(self.path) == record.sha256",
        "return True",
        IDENTITY + "a_damaged_tile_is_found_and_made_anew[flip]",
    ),
    Guard(
        "the size of a file",
        "tbseg_ops/run/done.py",
        "return stat.S_ISREG(found.st_mode) and found.st_size == self.record.size",
        "return stat.S_ISREG(found.st_mode)",
        "faults/test_repair.py::test_a_file_that_is_none[cut off-tile]",
    ),
    Guard(
        "the checksums of a slab",
        "tbseg_ops/steps/ingest.py",
        "fletcher32=True,  #",
        "fletcher32=False,  #",
        "steps/test_finished_work.py::test_a_damaged_slab_is_seen_when_it_is_used_and_mended_then",
    ),
    Guard(
        "the checksums of slices that are referred to",
        "tbseg_ops/run/referred.py",
        "if not np.array_equal(_checks(voxels, CHECKED), expected):",
        NEVER,
        "steps/test_refer.py::test_a_changed_slice_is_refused",
    ),
    Guard(
        "the content of a sub-volume",
        "tbseg_ops/steps/split.py",
        "if found == record.content:",
        "if True:",
        "faults/test_repair.py::test_a_sub_volume_with_other_voxels_is_not_computed_with",
    ),
    Guard(
        "the fingerprint of a slice",
        "tbseg_ops/volume/source.py",
        "if planned is not None and found != planned[z]:",
        NEVER,
        IDENTITY + "a_slice_replaced_after_the_plan_is_refused",
    ),
    Guard(
        "the seal of a plan",
        "tbseg_ops/run/folder.py",
        "if plan.is_altered:",
        NEVER,
        DAMAGE + "d9_a_plan_that_was_edited_by_hand_is_refused",
    ),
    Guard(
        "the list of inputs belongs to the plan",
        "tbseg_ops/run/folder.py",
        "if not plan.is_of(inputs):",
        NEVER,
        DAMAGE + "d9_two_names_exchanged_in_the_list_of_slices_are_noticed",
    ),
    Guard(
        "a worker of an old plan",
        "tbseg_ops/run/folder.py",
        "        self._check_plan()\n",
        "",
        IDENTITY + "a_late_worker_of_an_old_plan_records_nothing",
    ),
    Guard(
        "two results for one key",
        "tbseg_ops/run/finish.py",
        "if there is not None and (there.content == made.facts.content or not exact):",
        "if there is not None:",
        IDENTITY + "two_different_results_for_one_key_are_both_kept",
    ),
    # How files come to be.
    Guard(
        "a file is on the disk before it has its name",
        "tbseg_ops/storage/commit.py",
        '        pause("syncing", tmp)\n        _fsync(file.fileno())',
        '        pause("syncing", tmp)',
        "storage/test_commit.py::test_each_file_is_on_the_disk_before_its_name_and_then_the_name",
    ),
    Guard(
        "a renamed file is on the disk before",
        "tbseg_ops/storage/commit.py",
        "    _sync(tmp)\n",
        "",
        "storage/test_commit.py::test_each_file_is_on_the_disk_before_its_name_and_then_the_name",
    ),
    Guard(
        "the first one wins",
        "tbseg_ops/storage/commit.py",
        "os.link(tmp.name, final.name, src_dir_fd=folder, dst_dir_fd=folder)",
        "_rename(tmp, final, folder)",
        "storage/test_commit.py::test_the_first_one_wins",
    ),
    Guard(
        "who is writing keeps his file",
        "tbseg_ops/storage/alive.py",
        "free = _lock(descriptor, fcntl.F_WRLCK)",
        "free = True",
        "storage/test_alive.py::test_it_is_there_as_long_as_its_writer_lives",
    ),
    Guard(
        "the clock of the file system",
        "tbseg_ops/storage/visibility.py",
        "return time.time() - moment > seconds and _now(folder) - moment > seconds",
        "return time.time() - moment > seconds",
        "faults/test_clock.py::test_a_clock_that_is_off_sweeps_nothing_and_looks_again",
    ),
    Guard(
        "room for the merged file",
        "tbseg_ops/steps/merge.py",
        "if needed > free:",
        NEVER,
        "faults/test_disk.py::test_a_merged_file_that_does_not_fit_is_said_before_it_is_written",
    ),
    # Exactness.
    Guard(
        "a halo as wide as what a voxel sees",
        "tbseg_ops/classifier/passport.py",
        "return depth, max(reach), max(reach)",
        "return depth, max(reach) - 1, max(reach) - 1",
        "steps/test_exactness.py::test_thin_tiles_give_the_untiled_result",
    ),
    Guard(
        "all tiles are merged",
        "tbseg_ops/steps/merge.py",
        "    if missing:\n        raise IntegrityError(",
        "    if False:\n        raise IntegrityError(",
        MERGE + "[not classified]",
    ),
    Guard(
        "what is merged is what was recorded",
        "tbseg_ops/steps/merge.py",
        "return chunks if chunks_digest(chunks) == record.chunks else None",
        "return chunks",
        MERGE + "[damaged]",
    ),
    Guard(
        "verify looks at all chunks",
        "tbseg_ops/steps/verify.py",
        "if chunks_digest(raw_chunks(file, plan, tile.core, tile.core.lo)) != record.chunks:",
        NEVER,
        IDENTITY + "verify_looks_at_each_byte",
    ),
    Guard(
        "verify looks across seams",
        "tbseg_ops/steps/verify.py",
        "if differing > allowed",
        "if False",
        "steps/test_exactness.py::test_a_halo_one_voxel_smaller_gives_another_result",
    ),
    Guard(
        "publish looks at the file that was verified",
        "tbseg_ops/steps/publish.py",
        "    check_bytes(folder, records)\n",
        "",
        DAMAGE + "d10_a_result_that_was_altered_after_it_was_verified_is_not_published",
    ),
    Guard(
        "HDF5 is opened by another process first",
        "tbseg_ops/hdf5/image.py",
        "if (found := damage(path)) is not None:",
        NEVER,
        "hdf5/test_arms_length.py::test_a_crash_is_damage",
    ),
    # Removal.
    Guard(
        "gc removes nothing without a verified run",
        "tbseg_ops/datasets/retention.py",
        "if not verified:",
        "if not states:",
        "datasets/test_gc.py::test_without_a_verified_run_nothing_goes",
    ),
    Guard(
        "gc asks who takes from whom",
        "tbseg_ops/datasets/retention.py",
        "safe |= {run, *_earlier(runs, Path(run))}",
        "safe |= {run}",
        "datasets/test_gc.py::test_an_unfinished_run_and_those_it_takes_from_are_not_touched",
    ),
    Guard(
        "gc asks whether it is a file",
        "tbseg_ops/datasets/gc.py",
        "if stat.S_ISREG(status.st_mode):",
        "if True:",
        "datasets/test_gc.py::test_links_are_not_followed",
    ),
    Guard(
        "one run of a dataset at a time",
        "tbseg_ops/datasets/claims.py",
        "if held is not None and not _may_go(held, supersede):",
        NEVER,
        "datasets/test_claims.py::test_a_living_process_is_not_superseded_even_by_its_token",
    ),
    # Who may see and use what.
    Guard(
        "pages: the log-in",
        "plugins/tbseg_airflow/pages/app.py",
        "dependencies=[Depends(get_user)]",
        "dependencies=[]",
        PAGES + "every_route_is_closed_to_who_is_not_logged_in",
    ),
    Guard(
        "pages: the right to see a run",
        "plugins/tbseg_airflow/pages/app.py",
        '@app.get(RUN + "{path:path}", dependencies=[_may_see])',
        '@app.get(RUN + "{path:path}")',
        PAGES + "each_route_of_a_run_asks_for_the_right_to_see_runs_of_that_dag",
    ),
    Guard(
        "pages: folders within the roots",
        "tbseg_ops/run/folder.py",
        "        keep_inside(path)\n        self.path =",
        "        self.path =",
        PAGES + "which_folders_can_be_seen",
    ),
    Guard(
        "tbseg view: the token",
        "tbseg_ops/view/server.py",
        "if not slash or not secrets.compare_digest(token.encode(), self._token.encode()):",
        "if not slash:",
        "view/test_server.py::test_without_the_token_nothing_is_said",
    ),
    Guard(
        "volumes within the roots",
        "tbseg_ops/settings.py",
        "if not any(real.is_relative_to(root) for root in roots):",
        NEVER,
        "test_settings.py::test_a_volume_outside_is_refused",
    ),
    Guard(
        "what was opened lies within the roots",
        "tbseg_ops/volume/regular_files.py",
        "            check_opened(descriptor, path)\n",
        "",
        "faults/test_links.py::test_a_slice",
    ),
    Guard(
        "what is written lies within the roots",
        "tbseg_ops/storage/commit.py",
        "        check_kept(folder, path)\n",
        "",
        "faults/test_links.py::test_a_part_of_a_run_is_not_written_elsewhere",
    ),
    Guard(
        "a record names files of its run",
        "tbseg_ops/run/records.py",
        r'pattern=r"^((volume|tiles|classes)/[^/\x00]+|segmentation)\.h5$"',
        'pattern=r""',
        "faults/test_mixed_up.py::test_a_record_names_files_of_the_run_only",
    ),
    Guard(
        "links out of an HDF5 file",
        "tbseg_ops/hdf5/untrusted.py",
        "if kind == h5py.h5l.TYPE_HARD:",
        "if True:",
        "hdf5/test_untrusted.py::test_refused",
    ),
    Guard(
        "bombs",
        "tbseg_ops/limits.py",
        "if declared > ALWAYS_FINE and declared > MAX_EXPANSION * stored:",
        NEVER,
        "volume/test_bombs.py::test_many_pages",
    ),
    Guard(
        "pickles",
        "tbseg_ops/engines/ilastik/pickles.py",
        "if foreign := next(_foreign(data), None) or _damage(data):",
        "if foreign := _damage(data):",
        "engines/ilastik/test_engine.py::test_pickle_of_unknown_content_is_refused",
    ),
)


@contextmanager
def tree() -> Iterator[Path]:
    """A copy of this tree, without what is made."""
    with tempfile.TemporaryDirectory(prefix="tbseg-guards-") as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=_LEFT_OUT, symlinks=True)
        yield copy


@contextmanager
def without(guard: Guard, copy: Path) -> Iterator[None]:
    """The copy without one guard."""
    path = copy / guard.file
    text = path.read_text()
    if text.count(guard.old) != 1:
        raise ValueError(f"{guard.file} has this {text.count(guard.old)} times: {guard.old!r}")
    path.write_text(text.replace(guard.old, guard.new))
    try:
        yield
    finally:
        path.write_text(text)


def verdicts(guards: Sequence[Guard]) -> Iterator[tuple[Guard, str]]:
    """Of each guard ``failed as it must``, ``skipped here``, or what is wrong."""
    with ExitStack() as stack:
        copies: SimpleQueue[Path] = SimpleQueue()
        for _ in range(_COPIES):
            copies.put(copy := stack.enter_context(tree()))
        whole = outcomes(sorted({f"tests/{guard.test}" for guard in guards}), copy, *AT_ONCE)

        def verdict(guard: Guard) -> str:
            with_it = whole[guard.test.partition("[")[0]]
            if with_it["failed"]:
                return "FAILS WITH IT, TOO"
            if not with_it["passed"]:
                return "skipped here"
            copy = copies.get()
            with without(guard, copy):
                found = outcomes([f"tests/{guard.test}"], copy, "-x").values()
            copies.put(copy)
            return "failed as it must" if any(n["failed"] for n in found) else "NOT MISSED"

        with ThreadPoolExecutor(_COPIES) as pool:
            yield from zip(guards, pool.map(verdict, guards), strict=True)


def main(*words: str) -> bool:
    """Print a table; whether each guard is missed."""
    guards = [g for g in GUARDS if not words or any(word in g.name for word in words)]
    wrong = 0
    for guard, verdict in verdicts(guards):
        wrong += verdict.isupper()
        print(f"{verdict:18}  {guard.name:55}  {guard.test}", flush=True)
    print(f"{len(guards)} guards, {wrong} of them not missed", flush=True)
    return wrong == 0


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
