"""What the pages of tasks link to: the run on its volume, the tile of an instance, the report.

The API server makes these links whenever such a page is opened, so that they are there while the
task runs. One that leads nowhere yet is "", which Airflow does not show.
"""

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

from tbseg_airflow.operators.approval import TbsegApproval
from tbseg_airflow.operators.doctor import TbsegDoctor
from tbseg_airflow.operators.export import TbsegExport
from tbseg_airflow.operators.forecast import TbsegCalibrate, TbsegForecast
from tbseg_airflow.operators.plan import TbsegPlan
from tbseg_airflow.operators.step import TbsegStep
from tbseg_airflow.pages import PREFIX, TILES
from tbseg_ops.geometry import TILE_NAME

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tbseg_ops.run import RunFolder

# Airflow's models and the library are imported when a link is made: each task loads the plugins.


class _Link(BaseOperatorLink):
    operators: ClassVar[list[Any]] = [
        *(TbsegPlan, TbsegDoctor, TbsegStep, TbsegCalibrate, TbsegForecast, TbsegApproval),
        TbsegExport,
    ]

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        from airflow.utils.session import create_session

        from tbseg_airflow.pages.runs import folder_of
        from tbseg_ops.errors import TbsegError

        with suppress(TbsegError, OSError), create_session() as session:
            folder = folder_of(session, ti_key.dag_id, ti_key.run_id)
            return self.of(folder, ti_key, session)
        return ""

    @abstractmethod
    def of(self, folder: "RunFolder", ti_key: Any, session: "Session") -> str:
        """The address for an instance of a task of a run that is planned; "" for none."""


class RunLink(_Link):
    """The tab *Tiles* of the run."""

    name = "Tiles of the run"

    def of(self, folder: "RunFolder", ti_key: Any, session: "Session") -> str:
        return f"{_base()}/dags/{quote(ti_key.dag_id)}/runs/{quote(ti_key.run_id)}/plugin/{TILES}"


class ReportLink(_Link):
    """The report, once it is written."""

    name = "Report"

    def of(self, folder: "RunFolder", ti_key: Any, session: "Session") -> str:
        return f"{_page(ti_key)}report" if folder.report_file.is_file() else ""


class TileLink(_Link):
    """The tile of an instance of ``classify`` on the volume; of a batch, its first one."""

    name = "This tile"
    operators: ClassVar[list[Any]] = [TbsegStep]

    def of(self, folder: "RunFolder", ti_key: Any, session: "Session") -> str:
        if ti_key.map_index < 0:
            return ""
        tile = folder.plan.grid.by_name(_tile_of(folder, ti_key, session))
        z0, z1 = tile.core.lo[0], tile.core.hi[0]
        return f"{_page(ti_key)}#z={(z0 + z1) // 2}&tile={tile.name}"


def _tile_of(folder: "RunFolder", ti_key: Any, session: "Session") -> str:
    """By the name that the instance has been given; before it has one, by its batch."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    wanted = {name: getattr(ti_key, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
    title = session.scalar(select(TaskInstance._rendered_map_index).filter_by(**wanted))
    named = TILE_NAME.search(title or "")
    return named[0] if named else folder.plan.batch(ti_key.map_index)[0].name


def _page(ti_key: Any) -> str:
    return f"{_base()}{PREFIX}/runs/{quote(ti_key.dag_id)}/{quote(ti_key.run_id)}/"


def _base() -> str:
    """The path under which Airflow is served, without a slash at its end."""
    from airflow.configuration import conf

    return urlsplit(conf.get("api", "base_url", fallback="/") or "/").path.rstrip("/")
