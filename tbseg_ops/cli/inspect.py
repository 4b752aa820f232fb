"""tbseg inspect: the passport of a classifier."""

import os
from typing import Annotated

from tbseg_ops.classifier import read_passport
from tbseg_ops.cli.common import Json, emit
from tbseg_ops.cli.options import declared
from tbseg_ops.errors import printable
from tbseg_ops.options import RunSpec


def inspect(
    classifier: Annotated[str, declared(RunSpec, "classifier")], as_json: Json = False
) -> None:
    """Print what an ilastik classifier holds: classes, features, forest, halo, digest."""
    passport = read_passport(os.path.abspath(classifier))  # noqa: PTH100
    if as_json:
        emit(passport)
        return
    scales = sorted({f.scale for f in passport.features})
    rows = {
        "file": passport.path,
        "ilastik": passport.ilastik_version,
        "classes": ", ".join(
            f"{name}{'' if i in passport.known_labels else ' (never drawn)'}"
            for i, name in enumerate(passport.labels, start=1)
        ),
        "channels": passport.channels,
        "features": f"{len(passport.features)}, {passport.columns} columns",
        "scales": ", ".join(map(str, scales)),
        "forest": f"{passport.trees} trees in {passport.forests} forests, {passport.nodes} nodes",
        "probabilities": "whole percents" if passport.percent_exact else "not whole percents",
        "engine native": "yes"
        if not passport.native_refusals
        else "no: " + "; ".join(passport.native_refusals),
        "digest": passport.digest,
    }
    if passport.first is not None:
        rows["first stage"] = (
            f"{', '.join(passport.first.labels)}; {passport.first.columns} columns,"
            f" {passport.first.trees} trees"
        )
    for name, value in [*rows.items(), *(("note", note) for note in passport.notes)]:
        print(f"{name:15}{printable(str(value))}")
    for stage in (passport.first, passport) if passport.first else (passport,):
        if passport.first is not None:
            print("first stage" if stage is passport.first else "second stage")
        for feature in stage.features:
            print(f"  {feature.id} {feature.scale:g}{' in 2D' if feature.in_2d else ''}")
