"""The run folder as an RO-Crate: what was made, from what, by what, with which parameters.

RO-Crate 1.1 with the profile Workflow Run Crate 0.5. The workflow is ``plan.json``: from it any
machine that has tbseg can do the run again. Told is what the run folder says, and the versions of
the libraries here; nothing of the environment. The same run gives the same bytes whenever it is
published: its times are those of its files, for people; nothing is decided by them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tbseg_ops.options import parameters
from tbseg_ops.reference import Reference
from tbseg_ops.report.entities import Entities, uri_of
from tbseg_ops.run import RunFolder
from tbseg_ops.run.proof import stored_proof
from tbseg_ops.run.records import Record, Step, sha256_of
from tbseg_ops.run.status import Status

RecordsByStep = Mapping[Step, Sequence[Record]]

_PROFILES = (
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate", "1.0"),
)
_JSON, _HDF5 = "application/json", "application/x-hdf5"


def crate_of(folder: RunFolder, done: RecordsByStep, state: Status) -> bytes:
    """The content of ``ro-crate-metadata.json`` for a merged run whose report is written.

    ``done``: the records of each step.
    """
    entities = Entities()
    inputs, outputs = _inputs(entities, folder), _outputs(entities, folder, done, state)
    workflow = _workflow(entities, folder, done)
    workflow["input"] = list(inputs)
    workflow["output"] = list(outputs)
    ended = _time(folder.segmentation_file)
    run = entities.add(
        "#run",
        "CreateAction",
        name=f"Run {folder.path.name}",
        description="; ".join(
            [
                "tbseg plan, ingest, split, classify, merge: the result is "
                + ("verified" if state.verified else "not verified"),
                *(f"warning: {text}" for text in state.warnings),
            ]
        ),
        instrument=workflow,
        object=list(dict.fromkeys(inputs.values())),
        result=list(outputs.values()),
        actionStatus="http://schema.org/CompletedActionStatus",
        endTime=ended,
        resourceUsage=_usage(entities, done),
    )
    began = _time(folder.plan_file)
    if began < ended:  # not so if the plan was made again over a result that still holds
        run["startTime"] = began
    root = entities.crate.root_dataset
    _describe(entities, folder)
    proof = stored_proof(folder, done["merge"][0].key)
    if proof is not None:
        name, digest = folder.proof_file.name, sha256_of(folder.proof_file)
        entities.file(name, _JSON, proof.statement, sha256=digest)
    root["datePublished"] = ended
    root["mainEntity"] = workflow
    root["mentions"] = run
    return entities.to_bytes()


def _describe(entities: Entities, folder: RunFolder) -> None:
    """The crate as a whole, and the files that are neither input nor output."""
    plan, spec, root = folder.plan, folder.plan.spec, entities.crate.root_dataset
    root["name"] = f"tbseg: {folder.path.name}"
    root["description"] = (
        f"Classes {', '.join(plan.classifier.labels)} of the volume {plan.spec.volume},"
        f" {' x '.join(map(str, plan.shape))} voxels (z, y, x)"
        + (f", from voxel {plan.part.lo} on" if spec.box is not None else "")
    )
    root["license"] = entities.add(
        "#license",
        "CreativeWork",
        name="No licence stated",
        description="tbseg does not know under which licence the volume and this result are.",
    )
    profiles = [
        entities.add(uri, "CreativeWork", name=name, version=number)
        for uri, name, number in _PROFILES
    ]
    root["conformsTo"] = profiles
    metadata = entities.crate.metadata
    metadata["conformsTo"] = [{"@id": metadata.profile}, {"@id": _PROFILES[-1][0]}]
    entities.file(folder.spec_file.name, _JSON, "What was asked for.")
    entities.file(folder.inputs_file.name, _JSON, "Name and fingerprint of each slice.")
    entities.folder("records/", "One record for each finished piece of each step.")


def _inputs(entities: Entities, folder: RunFolder) -> dict[Any, Any]:
    """Formal parameter to entity: volume, classifier, mask, and the parameters of the spec."""
    plan, spec, found = folder.plan, folder.plan.spec, {}

    def put(name: str, entity: Any, kind: str, description: str) -> None:
        found[entities.parameter(name, entity, kind, description)] = entity

    is_stack = Reference.of(spec.volume).kind in ("folder", "pattern")
    volume = entities.volume(spec.volume, is_stack, len(folder.inputs.slices))
    volume["identifier"] = entities.value(
        "inputs-digest", plan.inputs_digest, "tbseg's digest of the slices, and those of the mask"
    )
    put("volume", volume, "Dataset" if is_stack else "File", "the volume")
    passport = plan.classifier
    classifier = entities.outside(
        uri_of(spec.classifier),
        is_folder=False,
        name=spec.classifier,
        description=f"made by ilastik {passport.ilastik_version}: {passport.trees} trees",
        encodingFormat=_HDF5,
    )
    classifier["identifier"] = entities.value(
        "classifier-digest", passport.digest, "tbseg's digest of all that decides the result"
    )
    put("classifier", classifier, "File", "the trained project of ilastik")
    for number, path in enumerate(spec.channels_from, start=2):
        is_folder = Reference.of(path).kind in ("folder", "pattern")
        more = entities.volume(path, is_folder, len(folder.inputs.slices))
        kind = "Dataset" if is_folder else "File"
        put(f"volume-{number}", more, kind, "further channels of the volume")
    if spec.mask is not None:
        is_stack = Reference.of(spec.mask).kind in ("folder", "pattern")
        mask = entities.volume(spec.mask, is_stack, len(folder.inputs.mask_slices))
        put("mask", mask, "Dataset" if is_stack else "File", "nothing is done where it is 0")
    for option, value in parameters(spec):
        kind = "Integer" if isinstance(value, int) else "Text"
        description = option.summary[:1].lower() + option.summary[1:]
        put(option.name, entities.value(option.name, value, option.name), kind, description)
    return found


def _outputs(
    entities: Entities, folder: RunFolder, done: RecordsByStep, state: Status
) -> dict[Any, Any]:
    """Formal parameter to entity: the merged file and the report."""
    (merged,) = done["merge"]
    labels = ", ".join(folder.plan.classifier.labels)
    segmentation = entities.file(
        folder.segmentation_file.name,
        _HDF5,
        f"Labels, and one array for each of the classes {labels}.",
        contentSize=str(merged.size),
        identifier=entities.value("content", merged.content, "tbseg's digest of all arrays"),
    )
    report = entities.file(
        folder.report_file.name,
        "text/html",
        "The result to look at: pictures, shares of the classes, times.",
        sha256=sha256_of(folder.report_file),
    )
    for path in state.exported:
        name = str(Path(path).relative_to(folder.path))
        about = "The result for other programs."
        if Path(path).is_dir():
            entities.folder(f"{name}/", about)
        else:
            entities.file(name, "image/tiff", about)
    return {
        entities.parameter("segmentation", segmentation, "File", "the classes"): segmentation,
        entities.parameter("report", report, "File", "the report"): report,
    }


def _workflow(entities: Entities, folder: RunFolder, done: RecordsByStep) -> Any:
    """The plan, and the programs that carried it out."""
    spec, digest = folder.plan.spec, sha256_of(folder.plan_file)
    where = "https://www.ilastik.org/" if spec.engine == "ilastik" else f"#engine-{spec.engine}"
    parts = [
        entities.software(f"https://pypi.org/project/{name}/", name, version(name))
        for name in ("numpy", "h5py")
    ]
    parts.append(entities.software(where, f"engine {spec.engine}", folder.plan.engine_version))
    versions = sorted({record.version for records in done.values() for record in records})
    programs = [entities.software(f"#tbseg-{quote(v, safe='')}", "tbseg", v) for v in versions]
    for program in programs:
        program["softwareRequirements"] = parts
    workflow = entities.workflow(folder.plan_file.name)
    workflow["name"] = "classes of a volume, tile by tile"
    workflow["description"] = "Grid of tiles, halo, classifier and engine of this run."
    workflow["encodingFormat"] = _JSON
    workflow["programmingLanguage"] = entities.add(
        "#plan-language", "ComputerLanguage", name="plan of tbseg"
    )
    workflow["version"] = workflow["sha256"] = digest
    workflow["hasPart"] = programs if len(programs) > 1 else programs[0]
    return workflow


def _usage(entities: Entities, done: RecordsByStep) -> list[Any]:
    """The machines, and the working time of each step over all workers."""
    hosts = sorted({record.host for records in done.values() for record in records})
    return [
        entities.value("hosts", ", ".join(hosts), "hosts"),
        *(
            entities.value(
                f"seconds-{step}",
                round(sum(record.seconds for record in records), 3),
                f"working time of {step}, {len(records)} pieces",
                unitText="s",
            )
            for step, records in done.items()
        ),
    ]


def _time(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="milliseconds")
