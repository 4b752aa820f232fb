// The page in Airflow: what the tasks are at, and having tiles computed again, all by Airflow's own
// API and with the rights of who looks.
import { followTheme, openInAirflow } from "./parts.js";

const [, base, dag, run] = location.pathname.match(/^(.*)\/tbseg\/runs\/([^/]+)\/([^/]+)\//);
const api = `${base}/api/v2/dags/${dag}`;
const PAGE = 100;

async function ask(path, body) {
  const answer = await fetch(path, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (answer.ok) return answer.json();
  if (answer.status === 403) throw new Error("Airflow does not allow you to do that: it needs the right to edit this DAG");
  if (answer.status === 401) throw new Error("you are not logged in any more");
  const { detail } = await answer.json().catch(() => ({}));
  throw new Error(typeof detail === "string" ? detail : `Airflow answers ${answer.status}`);
}

// Each instance of classify, by the name of its only tile or the number of its batch.
async function instances() {
  const found = new Map();
  for (let offset = 0, total = 1; offset < total; offset += PAGE) {
    const part = await ask(`${api}/dagRuns/${run}/taskInstances?task_id=classify&limit=${PAGE}&offset=${offset}`);
    total = part.total_entries;
    for (const one of part.task_instances) {
      if (one.map_index < 0) continue;
      const batch = /^batch (\d+):/.exec(one.rendered_map_index ?? "");
      found.set(batch ? Number(batch[1]) : one.rendered_map_index ?? one.map_index, { index: one.map_index, state: one.state, attempt: one.try_number, began: Date.parse(one.start_date) / 1000, isBatch: batch !== null });
    }
  }
  return (tile) => found.get(tile.name) ?? found.get(tile.batch);
}

function redo(indices) {
  return ask(`${api}/clearTaskInstances`, {
    dry_run: false,
    dag_run_id: decodeURIComponent(run),
    task_ids: indices.map((index) => ["classify", index]),
    include_downstream: true,
    only_failed: false,
    reset_dag_runs: true,
  });
}

// Just these tiles, by a run of their own with the same values; its id.
async function only(names) {
  const { conf } = await ask(`${api}/dagRuns/${run}`);
  if (conf.dataset) { // whose newest run would be worked on
    const runs = (await ask(`${base}/tbseg/api/runs`)).filter((r) => r.dataset === conf.dataset && r.folder);
    if (runs[0]?.folder !== runs.find((r) => r.run === decodeURIComponent(run))?.folder) throw new Error(`there is a newer run of ${conf.dataset}: ${runs[0].run}`);
  }
  const begun = await ask(`${api}/dagRuns`, { logical_date: null, conf: { ...conf, only_tiles: names.join(", ") } });
  return begun.dag_run_id;
}

// Runs to compare this one with.
async function others() {
  const runs = await ask(`${base}/tbseg/api/runs`);
  return runs.filter((r) => r.folder && r.run !== decodeURIComponent(run))
    .map((r) => ({ id: r.run, name: `${r.dataset ?? r.folder} (${r.state}, ${r.run})` }));
}

followTheme();

const tasks = (id) => `/dags/${dag}/runs/${encodeURIComponent(id)}`;
const log = (index) => `/dags/${dag}/runs/${run}/tasks/classify/mapped/${index}`;
const open = (path) => openInAirflow(base, path);
export default { instances, redo, only, others, open, log, tasks };
