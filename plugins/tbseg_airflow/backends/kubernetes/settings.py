"""The Airflow Variable ``tbseg_kubernetes``: where pods run, from which images, with how much."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PositiveInt, StringConstraints

from tbseg_airflow.backends.variable import read
from tbseg_ops.pipeline import known, resourced

VARIABLE = "tbseg_kubernetes"
TEMPLATE = Path(__file__).with_name("pod-template.yaml")  # a file of the package: images have it

Step = Annotated[str, AfterValidator(lambda name: known(name, resourced()))]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTP]|[KMGTP]i)?$")]
# TBSEG_PATHS joins them with ":" and "=".
Prefix = Annotated[str, StringConstraints(pattern=r"^(/[^/:=\x00-\x1f\x7f]+)+$")]


class KubernetesSettings(BaseModel):
    """``images``, ``memory`` and ``cpu`` are by step; what is not named is the pod template's.

    ``paths``: where a folder of Airflow's machine is in the pod. ``ranks``: MPI ranks of merge.
    ``poll_seconds``: between two looks at a pod. ``log_seconds``: between two readings of its log.
    ``schedule_seconds``: until a node has room. ``startup_seconds``: until its image is there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Text
    images: dict[Step, Text] = {}
    conn_id: Text = "kubernetes_default"
    namespace: Text | None = None
    pod_template: Text = str(TEMPLATE)
    service_account: Text | None = None
    node_selector: dict[str, str] = {}
    memory: dict[Step, Quantity] = {}
    cpu: dict[Step, Quantity] = {}
    paths: dict[Prefix, Prefix] = {}
    ranks: PositiveInt = 1
    poll_seconds: PositiveInt = 5
    log_seconds: PositiveInt = 15
    schedule_seconds: PositiveInt = 86_400
    startup_seconds: PositiveInt = 600


def settings() -> KubernetesSettings:
    """The settings of this deployment; StepRefused if they are missing or wrong."""
    return read(VARIABLE, KubernetesSettings, '{"image": "registry/tbseg:1"}')
