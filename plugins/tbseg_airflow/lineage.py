"""What OpenLineage is told of a step: the files that it reads and those that it writes.

Imported only when the provider is switched on (docs/provenance.md). Names follow OpenLineage's
conventions for local files: namespace ``file``, and the absolute path as everybody who shares the
run folder sees it. Where the run folder knows what a file holds, that digest is its version.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset
from openlineage.client.facet_v2 import DatasetFacet, dataset_version_dataset
from openlineage.client.naming.dataset import LocalFileSystem

from tbseg_ops.pipeline import STEPS
from tbseg_ops.run import RunFolder

# Step: what it reads, what it writes. Each step after plan reads the plan, too.
FILES = {step.name: (step.reads, step.writes) for step in STEPS if step.command}


def lineage(step: str, run_dir: str, *, done: bool) -> "OperatorLineage[Any, Any]":
    """Inputs and outputs of a step that has ended; of one that failed, its inputs only.

    Nothing is known where planning failed. The provider catches and logs what is raised here.
    """
    if not run_dir or not Path(run_dir, "plan.json").is_file():
        return OperatorLineage()
    folder = RunFolder(Path(run_dir))
    reads, writes = FILES[step]
    inputs = reads if step == "plan" else ("plan", *reads)
    return OperatorLineage(
        inputs=_datasets(folder, inputs, InputDataset),
        outputs=_datasets(folder, writes, OutputDataset) if done else [],
    )


def _datasets(folder: RunFolder, names: Iterable[str], kind: type[Dataset]) -> list[Dataset]:
    plan, merged = folder.plan, folder.records("merge").get("volume")
    paths: dict[str, str | None] = {
        "volume": plan.spec.volume,
        "mask": plan.spec.mask,
        "classifier": plan.spec.classifier,
        "plan": str(folder.plan_file),
        "whole": str(folder.volume_file),
        "tiles": str(folder.path / "tiles"),
        "classes": str(folder.path / "classes"),
        "segmentation": str(folder.segmentation_file),
        "export": str(folder.exports) if plan.spec.publish else None,
        "report": str(folder.report_file),
        "crate": str(folder.crate_file),
    }
    versions = {
        "volume": plan.inputs_digest,
        "classifier": plan.classifier.digest,
        "segmentation": merged.content if merged is not None else None,
    }
    return [
        _dataset(path, versions.get(name), kind)
        for name in names
        if (path := paths[name]) is not None
    ]


def _dataset(path: str, version: str | None, kind: type[Dataset]) -> Dataset:
    file = LocalFileSystem(path)
    facets: dict[str, DatasetFacet] = {}
    if version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=version
        )
    return kind(namespace=file.get_namespace(), name=file.get_name(), facets=facets)
