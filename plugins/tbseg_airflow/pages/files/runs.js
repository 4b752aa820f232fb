// All runs of the DAG that who looks may see.
import { element, followTheme, get, hours } from "./parts.js";

const LOOK_MS = 5000;
const $ = (id) => document.getElementById(id);
const MARKS = { success: "✓", failed: "✗", running: "▶", queued: "…" };

async function show() {
  const runs = await get("api/runs");
  $("none").hidden = runs.length > 0;
  $("runs").tBodies[0].replaceChildren(...runs.map((run) => {
    const name = run.folder ? run.dataset ?? run.folder : run.run;
    const link = element("a", { href: `runs/${encodeURIComponent(run.dag)}/${encodeURIComponent(run.run)}/` }, name);
    const end = run.ended ?? Date.now() / 1000;
    const cells = [
      element("td", {}, run.folder ? link : name, element("div", { class: "sub" }, run.folder ? run.run : "nothing to be seen yet")),
      `${MARKS[run.state] ?? ""} ${run.state}`,
      run.started ? new Date(run.started * 1000).toLocaleString() : "",
      run.started ? hours(end - run.started) : "",
      run.tiles?.toLocaleString() ?? "",
      run.by ?? "",
    ];
    return element("tr", {}, ...cells.map((cell) => (cell instanceof Element ? cell : element("td", {}, cell))));
  }));
}

async function watch() {
  for (;; await new Promise((r) => setTimeout(r, LOOK_MS))) {
    if (document.hidden) continue;
    try {
      await show();
      $("message").hidden = true;
    } catch (error) {
      $("message").textContent = error.message;
      $("message").hidden = false;
    }
  }
}

followTheme();
watch();
