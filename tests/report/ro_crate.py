"""The RO-Crate library's validator without a network.

The validator takes the JSON-LD context of a crate from its cache; here the cache is filled with
those terms of the context of RO-Crate 1.1 that our crates use (the context is in the public domain,
CC0). A term that is not listed here means nothing to the validator.
"""

import io
import json
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import models, services
from urllib3 import HTTPResponse

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
SCHEMA = (
    "ComputerLanguage CreateAction CreativeWork Dataset PropertyValue SoftwareApplication"
    " SoftwareSourceCode about actionStatus additionalType contentSize datePublished description"
    " encodingFormat endTime exampleOfWork hasPart identifier instrument license mainEntity"
    " mentions name object programmingLanguage result softwareRequirements startTime unitText url"
    " value version workExample"
)
TERMS = {
    **{name: f"http://schema.org/{name}" for name in SCHEMA.split()},
    "File": "http://schema.org/MediaObject",
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
    "conformsTo": "http://purl.org/dc/terms/conformsTo",
}


class _Context(HTTPAdapter):
    """The whole network: one document."""

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        assert request.url == CONTEXT
        body = io.BytesIO(json.dumps({"@context": TERMS}).encode())
        headers = {"Content-Type": "application/ld+json"}
        raw = HTTPResponse(body, headers, 200, preload_content=False, request_url=CONTEXT)
        return self.build_response(request, raw)


def issues(crate: Path, cache: Path, severity: str = "REQUIRED") -> list[str]:
    """What the validator has against a crate (a folder) of the profile Workflow Run Crate."""
    cache.mkdir()
    with CachedSession(str(cache / "http"), backend="sqlite", expire_after=-1) as session:
        session.mount("https://", _Context())
        session.get(CONTEXT)
    found = services.validate(
        services.ValidationSettings(
            rocrate_uri=crate,
            profile_identifier="workflow-run-crate",
            requirement_severity=models.Severity[severity],
            offline=True,
            cache_path=cache / "http",
        )
    )
    return sorted(
        f"{i.severity.name}: {i.message} ({i.violatingEntity})" for i in found.get_issues()
    )
