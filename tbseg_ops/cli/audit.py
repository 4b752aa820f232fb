"""tbseg audit: is this volume whole, and does this classifier fit it?"""

import os
from typing import Annotated

from tbseg_ops.cli.common import Json, emit
from tbseg_ops.cli.options import Given, declared, with_options
from tbseg_ops.errors import printable
from tbseg_ops.options import RunSpec
from tbseg_ops.reference import Reference
from tbseg_ops.selection import Selection
from tbseg_ops.steps import audit as audit_step


@with_options
def audit(
    volume: Annotated[str, declared(RunSpec, "volume")],
    classifier: Annotated[str | None, declared(RunSpec, "classifier")] = None,
    *,
    selection: Given[Selection],
    as_json: Json = False,
) -> None:
    """Check a volume's headers, order and completeness, and its fit to a classifier."""
    found = audit_step(
        volume=str(Reference.of(volume).absolute()),
        classifier=os.path.abspath(classifier) if classifier else None,  # noqa: PTH100
        selection=selection.made(),
    )
    if as_json:
        emit(found)
        return
    info = found.volume
    print(f"volume   {info.kind}, {' x '.join(map(str, info.shape))} (z, y, x) {info.dtype}")
    print(f"channels {info.channels}")
    size = " x ".join(map(str, info.voxel_size)) if info.voxel_size else "unknown"
    print(f"voxel    {size} {info.unit or ''}".rstrip())
    print(f"slices   {', '.join(filter(None, (found.first, found.second)))}, ... {found.last}")
    if found.values is not None:
        print(f"values   {found.values[0]:g} to {found.values[1]:g}, of a few slices")
    for warning in found.warnings:
        print(f"note     {printable(warning)}")
    if found.classifier is not None:
        print(f"fits     {found.classifier.path}: {', '.join(found.classifier.labels)}")
    for text in found.unfit:
        print(f"warning  {printable(text)}")
