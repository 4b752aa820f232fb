"""What is exported of a run: in which files, by what they are known, and whether they are there.

A file, or folder, is finished when it has its name, and its key lies in a hidden folder beside it.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tbseg_ops.options import Format
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.images import RAW_NAME, Image, images_of
from tbseg_ops.run.plan import Plan
from tbseg_ops.storage.commit import commit_over
from tbseg_ops.stored import digest_of

_FORM = 2  # rises when the same images are written otherwise
_BESIDE = ".tbseg-export"


@dataclass(frozen=True)
class Part:
    """One file or folder, ``name``; ``inside``: its images, and where in it each of them is."""

    to: Format
    name: str
    inside: tuple[tuple[str, Image], ...]

    def key(self, plan: Plan, merged: str) -> str:
        """By what it is known; ``merged``: the key of the merged file."""
        of_raw = [plan.inputs_digest, plan.volume.model_dump(mode="json"), plan.read.lo]
        raw = of_raw if any(image.name == RAW_NAME for _, image in self.inside) else None
        return digest_of([_FORM, self.to, merged, raw, [repr(each) for each in self.inside]])


def hidden(folder: Path) -> Path:
    """The hidden folder with what is known of all that is exported into ``folder``."""
    return folder / _BESIDE


def beside(final: Path) -> Path:
    """The hidden folder with what is known of ``final``, and its draft."""
    return hidden(final.parent)


def key_file(final: Path) -> Path:
    """Where the key of a finished ``final`` is."""
    return beside(final) / f"{final.name}.key"


def stored_key(final: Path) -> str | None:
    """The key of what is there; None if there is nothing that tbseg has exported."""
    with suppress(FileNotFoundError):
        if final.exists():
            return key_file(final).read_text()
    return None


def exported(folder: Path) -> list[str]:
    """The names of what tbseg has exported into a folder, and last that of its notes on that.

    What else is there is not tbseg's.
    """
    notes = sorted(path.name for path in (folder / _BESIDE).glob("*.key"))
    return [*(name.removesuffix(".key") for name in notes), _BESIDE]


def forget(folder: Path) -> None:
    """Take what is exported into a folder for none that is finished, to be replaced."""
    for file in (folder / _BESIDE).glob("*.key"):
        commit_over(file, b"")


def parts_of(images: Sequence[Image], to: Format) -> list[Part]:
    """Which files are made of these images. In OME-Zarr labels lie in raw, if that is wanted."""
    if to != "ome-zarr":
        ending = "" if to == "tiff-slices" else ".tif"
        return [Part(to, f"{image.name}{ending}", (("", image),)) for image in images]
    with_raw = any(image.name == RAW_NAME for image in images)
    found: dict[str, list[tuple[str, Image]]] = {}
    for image in sorted(images, key=lambda image: image.name != RAW_NAME):
        inside = with_raw and image.is_label
        found.setdefault(f"{RAW_NAME if inside else image.name}.ome.zarr", []).append(
            (f"labels/{image.name}" if inside else "", image)
        )
    return [Part(to, name, tuple(inside)) for name, inside in found.items()]


def usual(plan: Plan, to: Format) -> list[Image]:
    """What is exported if nobody says what."""
    labels = plan.classifier.labels
    maps = [f"probabilities:{labels[i]}" for i in plan.probability_labels]
    return images_of(plan, ["raw", "labels", *maps] if to == "ome-zarr" else ["labels"])


def asked(plan: Plan) -> list[Part]:
    """What the run exports by itself (``--publish``)."""
    return [part for to in plan.spec.publish for part in parts_of(usual(plan, to), to)]


def exports(folder: RunFolder, merged: str | None) -> Iterator[tuple[Path, bool]]:
    """What the run exports by itself, and whether that is there, of the merged file of this key."""
    for part in asked(folder.plan):
        path = folder.exports / part.name
        yield path, merged is not None and stored_key(path) == part.key(folder.plan, merged)
