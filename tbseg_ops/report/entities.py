"""Entities of an RO-Crate, by the library ``rocrate``: files, inputs elsewhere, values, programs.

Names and paths are hostile text: identifiers are URLs with everything else encoded, and
``Entities.to_bytes`` leaves no control character.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tbseg_ops.errors import printable
from tbseg_ops.reference import Reference

BIOSCHEMAS = "https://bioschemas.org/profiles/"
_TERMS = "https://w3id.org/ro/terms/workflow-run#"


class Entities:
    """A crate in the making; what its methods return are entities of the library."""

    def __init__(self) -> None:
        from rocrate import model, rocrate  # half as long as numpy: not in every command

        self._model = model
        self.crate = rocrate.ROCrate(version="1.1")
        self.crate.metadata.extra_terms = {n: _TERMS + n for n in ("sha256", "resourceUsage")}

    def to_bytes(self) -> bytes:
        """The crate's JSON-LD; the same bytes for the same entities."""
        whole = _clean(self.crate.metadata.generate())
        return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()

    def add(self, identifier: str, kind: str, **properties: Any) -> Any:
        """Something that is no file."""
        about = {"@type": kind, **properties}
        return self.crate.add(self._model.ContextEntity(self.crate, identifier, properties=about))

    def file(self, name: str, encoding: str, description: str, **properties: Any) -> Any:
        """A file of the crate."""
        about = {"name": name, "encodingFormat": encoding, "description": description}
        return self.crate.add_file(dest_path=name, properties=about | properties)

    def folder(self, name: str, description: str) -> Any:
        about = {"name": name, "description": description}
        return self.crate.add_dataset(dest_path=name, properties=about)

    def workflow(self, name: str) -> Any:
        """The file of the crate that is its workflow."""
        workflow = self._model.ComputationalWorkflow(self.crate, dest_path=name)
        workflow["conformsTo"] = {"@id": f"{BIOSCHEMAS}ComputationalWorkflow/1.0-RELEASE"}
        return self.crate.add(workflow)

    def outside(self, uri: str, is_folder: bool, **properties: Any) -> Any:
        """A file or folder outside of the crate; once, however often it is named."""
        kind = self._model.Dataset if is_folder else self._model.File
        there = self.crate.get(uri)
        if there is not None:
            return there
        return self.crate.add(kind(self.crate, source=uri, properties=properties))

    def volume(self, text: str, is_stack: bool, slices: int) -> Any:
        """A volume as a user names it: a folder or pattern of slices, or one file."""
        about = {"name": text, "description": f"{slices} slices"}
        reference = Reference.of(text)
        if is_stack and reference.kind != "list":
            return self.outside(uri_of(str(reference.fixed)), True, **about)
        part = f"#{quote(reference.dataset)}" if reference.dataset else ""
        return self.outside(uri_of(reference.file) + part, False, **about)

    def parameter(self, name: str, entity: Any, kind: str, description: str) -> Any:
        """A formal parameter of the workflow, of which ``entity`` is an example."""
        formal = self.add(
            f"#parameter-{name}",
            "FormalParameter",
            name=name,
            description=description,
            additionalType=kind,
            conformsTo={"@id": f"{BIOSCHEMAS}FormalParameter/1.0-RELEASE"},
            workExample=entity,
        )
        entity.append_to("exampleOfWork", formal, compact=True)
        return formal

    def value(self, name: str, value: str | int | float, title: str, **properties: Any) -> Any:
        return self.add(f"#{name}", "PropertyValue", name=title, value=value, **properties)

    def software(self, identifier: str, name: str, version: str) -> Any:
        more = {"url": identifier} if identifier.startswith("https:") else {}
        return self.add(identifier, "SoftwareApplication", name=name, version=version, **more)


def uri_of(path: str) -> str:
    """``file:///...``, encoded."""
    return Path(path).as_uri()


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return printable(value).replace("\n", " ") if isinstance(value, str) else value
