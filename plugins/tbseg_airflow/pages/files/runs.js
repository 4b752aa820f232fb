// All runs of the DAG that who looks may see.
import { element, followTheme, get, hours, openInAirflow, paceText, rate } from "./parts.js";

const LOOK_MS = 5000;
const BASE = location.pathname.replace(/\/tbseg\/.*$/, "");
const $ = (id) => document.getElementById(id);
const MARKS = { success: "✓", failed: "✗", running: "▶", queued: "…" };
const HEADS = [...$("runs").tHead.rows[0].cells].map((cell) => cell.textContent);
let runs = [];

const sub = (...parts) => element("div", { class: "sub" }, ...parts);
const baseName = (path) => path.split("/").pop();

function cells(run) {
  const at = `runs/${encodeURIComponent(run.dag)}/${encodeURIComponent(run.run)}/`;
  const name = run.dataset ?? (run.folder ? baseName(run.folder) : "");
  const seen = run.folder !== undefined;
  const took = run.started === null ? 0 : (run.ended ?? Date.now() / 1000) - run.started;
  return [
    [seen ? element("a", { href: at }, name) : name, sub(tasks(run)), ...(seen ? [] : [sub("nothing to be seen yet")])],
    [`${MARKS[run.state] ?? ""} ${run.state}`, ...(run.error ? [sub(run.error)] : [])],
    tiles(run, took),
    run.classifier ? [baseName(run.classifier), sub(element("code", { title: run.digest }, run.digest.slice(0, 12)))] : [],
    changes(run),
    run.started !== null ? [new Date(run.started * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }), sub(`${run.ended ? "took" : "for"} ${hours(took)}`)] : [],
    [run.by ?? ""],
    links(run, at),
  ];
}

// A link to the run's tasks.
function tasks(run) {
  const path = `/dags/${encodeURIComponent(run.dag)}/runs/${encodeURIComponent(run.run)}`;
  const link = element("a", { href: `${BASE}${path}` }, run.run);
  link.addEventListener("click", (event) => { event.preventDefault(); openInAirflow(BASE, path); });
  return link;
}

function tiles(run, took) {
  const total = run.tiles?.toLocaleString() ?? "";
  if (run.state === "success") return [total, ...(run.voxels && took > 0 ? [sub(rate(run.voxels / took))] : [])];
  const { standing } = run;
  if (!standing) return [total];
  const share = standing.total ? (100 * standing.done) / standing.total : 0;
  const bar = element("div", { class: "bar", role: "progressbar", "aria-label": `tiles of ${run.run}`, "aria-valuenow": share.toFixed(0) }, element("div"));
  bar.firstElementChild.style.width = `${share}%`;
  const counting = standing.counted ? "" : " (still counting)";
  const pace = run.state === "running" ? paceText(standing) : "";
  return [`${standing.done.toLocaleString()} of ${total}${counting}`, bar, ...(pace ? [sub(pace)] : [])];
}

function changes(run) {
  if (run.changes === null) return [sub("no run before")];
  if (!run.changes) return [];
  return run.changes.length ? [element("ul", {}, ...run.changes.map((text) => element("li", {}, text)))] : [sub("nothing")];
}

function links(run, at) {
  if (!run.folder) return [];
  const found = [element("a", { href: `${at}volume` }, "3D")];
  if (run.report) found.push(element("a", { href: `${at}report` }, "report"));
  const path = run.result && element("details", {}, element("summary", {}, "result"), element("code", {}, run.result));
  return [element("div", { class: "links" }, ...found), ...(path ? [path] : [])];
}

const ACTIVE = "a, summary";

function draw() {
  const words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const body = $("runs").tBodies[0];
  const open = new Set([...body.querySelectorAll("details[open]")].map((d) => d.closest("tr").dataset.run));
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  const focusedRow = focused?.closest("tr");
  const number = focused && [...focusedRow.querySelectorAll(ACTIVE)].indexOf(focused);
  const rows = runs.map((run) => {
    const row = element("tr", { "data-run": run.run }, ...cells(run).map((parts, i) => element("td", { "data-head": HEADS[i] }, ...parts)));
    if (open.has(run.run)) row.querySelector("details")?.setAttribute("open", "");
    return row;
  }).filter((row) => words.every((word) => row.textContent.toLowerCase().includes(word)));
  body.replaceChildren(...rows);
  const same = focused && rows.find((row) => row.dataset.run === focusedRow.dataset.run);
  same?.querySelectorAll(ACTIVE)[number]?.focus({ preventScroll: true });
}

async function watch() {
  for (;; await new Promise((r) => setTimeout(r, LOOK_MS))) {
    if (document.hidden) continue;
    try {
      runs = await get("api/runs");
      const named = new Set(runs.map((run) => run.dataset));
      const others = (await get("look/api/datasets")).filter((name) => !named.has(name));
      $("none").hidden = runs.length > 0;
      $("datasets").textContent = others.length ? `Datasets without a run in this list: ${others.join(", ")}` : "";
      draw();
      $("message").hidden = true;
    } catch (error) {
      $("message").textContent = error.message;
      $("message").hidden = false;
    }
  }
}

$("words").addEventListener("input", draw);
followTheme();
watch();
