"""The plugin by which Airflow shows the pages of tbseg's runs. See docs/view.md."""

from airflow.plugins_manager import AirflowPlugin
from tbseg_airflow.links import ReportLink, RunLink, TileLink
from tbseg_airflow.pages import PREFIX, TILES, LazyApp


class TbsegView(AirflowPlugin):
    name = "tbseg_view"
    fastapi_apps = [{"app": LazyApp(), "url_prefix": PREFIX, "name": "tbseg"}]  # noqa: RUF012
    operator_extra_links = [RunLink(), ReportLink(), TileLink()]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "tbseg",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "tbseg",
        },
        {
            "name": "tbseg: before a run",
            "href": f"{PREFIX}/look/",
            "destination": "nav",
            "category": "browse",
            "url_route": "tbseg-look",
        },
        {
            "name": "Tiles",
            "href": f"{PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}/",
            "destination": "dag_run",
            "url_route": TILES,
        },
    ]
