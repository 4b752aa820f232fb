// The page of one run. All addresses are relative to where the run is served; whatever comes from
// the run is put in as text, never as markup.
import host from "./host.js";
import { makeMap } from "./map.js";
import { showTile } from "./tile.js";
import { element, get, hours, swatch } from "./parts.js";

const LOOK_MS = 1000;
const TASKS_EVERY = 4; // looks
const $ = (id) => document.getElementById(id);
const state = { run: null, layer: null, progress: [], z: 0, chosen: null, selected: new Set(), task: null };
const map = makeMap($("map"), choose);

async function start() {
  await loadRun();
  tell(null);
  const { run } = state;
  $("z").max = run.shape[0] - 1;
  run.classes.forEach((c, i) => $("by").append(new Option(`share of ${c.label}`, `class-${i}`)));
  const wanted = new URLSearchParams(location.hash.slice(1));
  state.chosen = wanted.get("tile");
  state.z = Math.min(Number(wanted.get("z") ?? Math.floor(run.shape[0] / 2)) || 0, run.shape[0] - 1);
  $("z").value = state.z;
  $("z").addEventListener("input", () => { state.z = Number($("z").value); slide(); });
  for (const id of ["by", "classes", "grid"]) $(id).addEventListener("change", paint);
  await loadTasks();
  await Promise.all([loadLayer(), loadProgress()]);
  if (state.chosen) choose(state.chosen);
  watch();
}

async function loadRun() {
  const run = (state.run = await get("api/run"));
  document.title = `${run.name} - tbseg`;
  $("name").textContent = run.name;
  const size = run.voxel_size ? `, voxel ${run.voxel_size.map(short).join(" × ")} ${run.unit ?? ""}` : "";
  $("folder").textContent = `${run.folder} · ${run.shape.join(" × ")} voxels (z, y, x)${size}`;
  $("report").hidden = !run.report;
  $("warnings").replaceChildren(...run.warnings.map((text) => element("li", {}, text)));
}

async function loadLayer() {
  const core = state.run.core[0];
  const layer = await get("api/layer", { z: Math.floor(state.z / core) });
  for (const tile of layer.tiles) merge(tile);
  state.layer = layer;
  paint();
  notice();
  if (state.chosen && state.layer.tiles.some((t) => t.name === state.chosen)) showChosen();
}

// What the tasks of the host are at, of tiles that are not done. Records are the truth, so a tile
// that is computed again counts as done until its task has begun.
function merge(tile) {
  const task = state.task?.(tile);
  if (task?.state === "running" || task?.state === "deferred") tile.state = "running";
  else if (tile.state !== "done" && (task?.state === "failed" || task?.state === "upstream_failed")) tile.state = "failed";
}

async function loadTasks() {
  if (host) state.task = await host.instances();
}

async function loadProgress() {
  const progress = (state.progress = await get("api/progress"));
  const total = progress.reduce((sum, l) => sum + l.total, 0);
  const known = progress.filter((l) => l.done !== null);
  const done = known.reduce((sum, l) => sum + l.done, 0);
  const counting = known.length < progress.length;
  const { run } = state;
  const percent = total ? (100 * done) / total : 0;
  $("bar").firstElementChild.style.width = `${percent}%`;
  $("bar").setAttribute("aria-valuenow", percent.toFixed(0));
  const read = run.slabs.done < run.slabs.total ? ` · ${run.slabs.done} of ${run.slabs.total} slabs read` : "";
  $("counts").textContent =
    `${done.toLocaleString()} of ${total.toLocaleString()} tiles classified${counting ? " (still counting)" : ""}${read}`;
  const [word, look] = run.verified ? ["✓ verified", "good"]
    : run.merged ? ["merged, not verified", "busy"]
    : run.called_off ? ["called off", "bad"]
    : done === total ? ["not merged", "busy"] : ["not finished", "busy"];
  $("badge").textContent = word;
  $("badge").className = `badge ${look}`;
  showLayers();
  if (counting) setTimeout(() => loadProgress().catch(tell), 200);
}

function showLayers() {
  const core = state.run.core[0];
  const here = Math.floor(state.z / core);
  const box = $("layers");
  while (box.children.length > state.progress.length) box.lastChild.remove();
  state.progress.forEach((layer, i) => {
    let row = box.children[i];
    if (!row) {
      row = element("button", { type: "button" }, element("span"), element("span", { class: "bar" }, element("div")), element("span"));
      row.addEventListener("click", () => {
        $("z").value = state.z = Math.min(Math.floor((layer.z + 0.5) * core), state.run.shape[0] - 1);
        slide();
      });
      box.append(row);
    }
    row.setAttribute("aria-current", layer.z === here);
    const [name, bar, count] = row.children;
    name.textContent = `z ${layer.z * core}`;
    bar.firstElementChild.style.width = `${layer.done === null ? 0 : (100 * layer.done) / layer.total}%`;
    count.textContent = `${layer.done ?? "…"} / ${layer.total}`;
  });
}

let sliding = 0;
function slide() {
  clearTimeout(sliding);
  showLayers();
  $("z-text").value = state.z;
  sliding = setTimeout(() => loadLayer().catch(tell), 60);
}

function paint() {
  $("z-text").value = state.z;
  $("map").classList.toggle("no-grid", !$("grid").checked);
  const legend = map.draw(state.run, state.layer, {
    z: state.z, by: $("by").value, classes: $("classes").checked, chosen: state.chosen, selected: state.selected,
  });
  $("legend").replaceChildren(...legend, ...($("classes").checked ? state.run.classes.map((c) => swatch(c.color, c.label)) : []));
  history.replaceState(null, "", `#z=${state.z}${state.chosen ? `&tile=${state.chosen}` : ""}`);
}

// Tiles that a person should see first: lost, slow, or with other classes than their neighbours.
function notice() {
  const tiles = state.layer.tiles;
  const done = tiles.filter((t) => t.state === "done" && !t.taken);
  const times = done.map((t) => t.seconds).sort((a, b) => a - b);
  const usual = times[times.length >> 1] ?? 0;
  const at = new Map(tiles.map((t) => [t.position.join(), t]));
  const found = [];
  for (const tile of tiles) {
    if (tile.state === "lost") found.push([tile, "its file is gone"]);
    if (tile.state === "failed") found.push([tile, "its task has failed"]);
    if (tile.attempts > 1) found.push([tile, `done ${tile.attempts} times`]);
    if (!tile.taken && tile.seconds > 3 * usual && tile.seconds > 1) found.push([tile, `took ${hours(tile.seconds)}, usual is ${hours(usual)}`]);
    const odd = oddness(tile, at); // as words
    if (odd) found.push([tile, odd, true]);
  }
  const failed = found.filter(([tile]) => tile.state === "failed" || tile.state === "lost").map(([tile]) => tile);
  const odd = found.filter(([, , isOdd]) => isOdd).map(([tile]) => tile);
  $("noticed-section").hidden = !found.length;
  $("all").replaceChildren(...redoButton("Compute all failed again", failed), ...redoButton("Compute all odd again", odd));
  $("noticed").replaceChildren(...found.slice(0, 100).map(([tile, why]) => {
    const button = element("button", { type: "button" }, tile.name);
    button.addEventListener("click", () => choose(tile.name));
    return element("li", {}, button, ` ${why}`);
  }));
}

function oddness(tile, at) {
  if (!tile.shares) return "";
  const [z, y, x] = tile.position;
  const around = [[0, 1], [1, 0], [0, -1], [-1, 0]].map(([b, a]) => at.get([z, y + b, x + a].join())).filter((t) => t?.shares);
  if (around.length < 2) return "";
  let worst = "", most = 0.25;
  tile.shares.forEach((share, i) => {
    const others = around.map((t) => t.shares[i]).sort((a, b) => a - b);
    const near = others[others.length >> 1];
    if (Math.abs(share - near) > most) {
      most = Math.abs(share - near);
      worst = `${Math.round(100 * share)} % ${state.run.classes[i].label}, its neighbours ${Math.round(100 * near)} %`;
    }
  });
  return worst;
}

function choose(name, more = false) {
  if (more) {
    if (!state.selected.delete(name)) state.selected.add(name);
    if (state.chosen) state.selected.add(state.chosen);
  } else {
    state.selected.clear();
  }
  state.chosen = name;
  const row = state.layer.tiles.find((t) => t.name === name);
  if (row) paint();
  showChosen();
}

function showChosen() {
  showTile($("tile"), state.run, state.chosen).then(() => {
    if (!host) return;
    const tile = state.layer.tiles.find((t) => t.name === state.chosen);
    const task = tile && state.task?.(tile);
    const tiles = state.selected.size ? state.layer.tiles.filter((t) => state.selected.has(t.name)) : tile ? [tile] : [];
    const actions = element("div", { class: "actions" }, ...redoButton(tiles.length > 1 ? `Compute ${tiles.length} tiles again` : "Compute it again", tiles));
    if (task) {
      const log = element("button", { type: "button" }, `Log of its task (${task.state ?? "waiting"}, attempt ${task.attempt})`);
      log.addEventListener("click", () => host.open(host.log(task.index)));
      actions.append(log);
    }
    $("tile").append(actions);
  }).catch(tell);
}

// A button that has the tasks of some tiles done again, and says so where a task has more of them.
function redoButton(text, tiles) {
  const indices = [...new Set(tiles.map((t) => state.task?.(t)?.index).filter((i) => i !== undefined))];
  if (!host || !indices.length) return [];
  const size = state.run.batch_size;
  const button = element("button", { type: "button", class: "strong" }, size > 1 ? `${text} (with their batches of ${size} tiles)` : text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await host.redo(indices);
      button.textContent = "Asked for: it will be seen here";
      state.selected.clear();
      await loadTasks();
      await loadLayer();
    } catch (error) {
      button.disabled = false;
      tell(error);
    }
  });
  return [button];
}

function tell(error) {
  $("message").textContent = error ? String(error.message ?? error) : "";
  $("message").hidden = !error;
}

async function watch() {
  for (let seen = state.run.revision, turn = 0; ; await new Promise((r) => setTimeout(r, LOOK_MS))) {
    if (document.hidden) continue;
    try {
      const { revision } = await get("api/revision");
      const tasks = host && turn++ % TASKS_EVERY === 0;
      if (tasks) await loadTasks();
      if (revision !== seen || tasks) {
        if (revision !== seen) await loadRun();
        await Promise.all([loadLayer(), loadProgress()]);
        seen = revision;
      }
      tell(null);
    } catch (error) {
      tell(error);
    }
  }
}

const short = (n) => Number(n.toPrecision(4));

// A run that has no plan yet will have one.
function begin() {
  start().catch((error) => {
    tell(error);
    if (!state.run) setTimeout(begin, 3 * LOOK_MS);
  });
}
begin();
