// The page of one run. All addresses are relative to where the run is served; whatever comes from
// the run is put in as text, never as markup.
import host from "./host.js";
import { showComparison } from "./compare.js";
import { makeMap } from "./map.js";
import { showTile } from "./tile.js";
import { element, get, getAt, hours, paceText, swatch } from "./parts.js";

const LOOK_MS = 1000;
const OFTEN = 4; // looks until tasks and pace are asked for again
const $ = (id) => document.getElementById(id);
// at: the slice across each axis.
const state = { run: null, layer: null, progress: [], axis: 0, at: [0, 0, 0], chosen: null, selected: new Set(), task: null, other: "", differs: null };
const map = makeMap($("map"), choose, turn);

const here = () => state.at[state.axis];
const layerHere = () => Math.floor(here() / state.run.core[state.axis]);
const middleOf = (layer) => Math.min(Math.floor((layer + 0.5) * state.run.core[state.axis]), state.run.shape[state.axis] - 1);
const beside = () => (state.other ? { with: state.other } : {});

async function start() {
  await loadRun();
  tell(null);
  const { run } = state;
  run.classes.forEach((c, i) => $("by").append(new Option(`share of ${c.label}`, `class-${i}`)));
  const wanted = new URLSearchParams(location.hash.slice(1));
  state.chosen = wanted.get("tile");
  state.at = run.shape.map((n) => Math.floor(n / 2));
  ["z", "y", "x"].forEach((name, axis) => {
    if (!wanted.has(name)) return;
    state.axis = axis;
    state.at[axis] = Math.min(Number(wanted.get(name)) || 0, run.shape[axis] - 1);
  });
  showAxis();
  $("axis").addEventListener("change", () => turn(Number($("axis").value), 0));
  $("at").addEventListener("input", () => { state.at[state.axis] = Number($("at").value); slide(); });
  for (const id of ["by", "classes", "of", "grid"]) $(id).addEventListener("change", paint);
  await Promise.all([loadTasks(), loadOthers(wanted.get("with"))]);
  await Promise.all([loadLayer(), loadProgress()]);
  loadPace().catch(tell);
  if (state.chosen) choose([state.chosen]);
  watch();
}

async function loadRun() {
  const run = (state.run = await get("api/run"));
  document.title = `${run.name} - tbseg`;
  $("name").textContent = run.name;
  const size = run.voxel_size ? `, voxel ${run.voxel_size.map(short).join(" × ")} ${run.unit ?? ""}` : "";
  $("folder").textContent = `${run.folder} · ${run.shape.join(" × ")} voxels (z, y, x)${size}`;
  $("report").hidden = !run.report;
  $("exports").hidden = !run.exports.length;
  $("exports").lastElementChild.replaceChildren(...run.exports.map(({ path, is_there: there }) => {
    const [word, look] = there ? ["✓ exported", "good"] : run.exports_removed ? ["removed", ""] : ["not exported", "busy"];
    return element("li", {}, element("code", {}, path), " ", element("span", { class: `badge ${look}` }, word));
  }));
  $("warnings").replaceChildren(...run.warnings.map((text) => element("li", {}, text)));
}

async function loadLayer() {
  const query = { axis: state.axis, number: layerHere() };
  const { value: layer, revision } = await getAt("api/layer", query);
  if (query.axis !== state.axis) return ""; // turned meanwhile
  for (const tile of layer.tiles) merge(tile);
  state.layer = layer;
  if (state.other) await loadDiffers();
  paint();
  notice();
  if (state.chosen && state.layer.tiles.some((t) => t.name === state.chosen)) showChosen();
  return revision;
}

// What the tasks of the host are at. Records are the truth: a tile that has one is done, unless its task was begun again since.
function merge(tile) {
  const task = state.task?.(tile);
  const isAgain = task?.attempt > 1 && !(tile.committed > task.began);
  if ((task?.state === "running" || task?.state === "deferred") && (tile.state !== "done" || isAgain)) tile.state = "running";
  else if (tile.state !== "done" && (task?.state === "failed" || task?.state === "upstream_failed")) tile.state = "failed";
}

async function loadTasks() {
  if (host) state.task = await host.instances();
}

async function loadProgress() {
  const { value: progress, revision } = await getAt("api/progress", { axis: state.axis });
  state.progress = progress;
  const total = progress.reduce((sum, l) => sum + l.total, 0);
  const known = progress.filter((l) => l.done !== null);
  const done = known.reduce((sum, l) => sum + l.done, 0);
  const counting = known.length < progress.length;
  if (done === total) $("pace").textContent = "";
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
  return revision;
}

async function loadPace() {
  const standing = await get("api/standing");
  $("pace").textContent = standing.done < standing.total ? paceText(standing) : "";
}

function showLayers() {
  const core = state.run.core[state.axis];
  const current = layerHere();
  const box = $("layers");
  while (box.children.length > state.progress.length) box.lastChild.remove();
  state.progress.forEach((layer, i) => {
    let row = box.children[i];
    if (!row) {
      row = element("button", { type: "button" }, element("span"), element("span", { class: "bar" }, element("div")), element("span"));
      row.addEventListener("click", () => {
        goTo(middleOf(i));
      });
      box.append(row);
    }
    row.setAttribute("aria-current", i === current);
    const [name, bar, count] = row.children;
    name.textContent = `${"zyx"[state.axis]} ${layer.layer * core}`;
    bar.firstElementChild.style.width = `${layer.done === null ? 0 : (100 * layer.done) / layer.total}%`;
    count.textContent = `${layer.done ?? "…"} / ${layer.total}`;
  });
}

function goTo(at) {
  $("at").value = state.at[state.axis] = at;
  slide();
}

// Planes across another axis, or, with null, so many layers further.
function turn(axis, step) {
  if (axis === null) {
    const layer = layerHere() + step;
    if (layer >= 0 && layer * state.run.core[state.axis] < state.run.shape[state.axis]) goTo(middleOf(layer));
    return;
  }
  if (axis === state.axis) return;
  state.axis = axis;
  state.progress = [];
  showAxis();
  loadProgress().catch(tell);
  slide();
}

function showAxis() {
  $("axis").value = state.axis;
  $("at").max = state.run.shape[state.axis] - 1;
  $("at").value = here();
}

let sliding = 0;
function slide() {
  clearTimeout(sliding);
  showLayers();
  $("at-text").value = `${"zyx"[state.axis]} = ${here()}`;
  sliding = setTimeout(() => loadLayer().catch(tell), 60);
}

function paint() {
  $("at-text").value = `${"zyx"[state.axis]} = ${here()}`;
  $("map").classList.toggle("no-grid", !$("grid").checked);
  const kind = $("classes").checked ? $("of").value : "";
  const legend = map.draw(state.run, state.layer, {
    axis: state.axis, at: here(), by: $("by").value, kind, query: beside(), chosen: state.chosen, selected: state.selected,
  });
  // The other run may have other classes and colours: its own page tells them.
  const laid = { labels: state.run.classes.map((c) => swatch(c.color, c.label)), difference: [swatch("#ff40ff", "another class")] };
  $("legend").replaceChildren(...legend, ...(laid[kind] ?? []));
  const words = new URLSearchParams({ ["zyx"[state.axis]]: here(), ...(state.chosen ? { tile: state.chosen } : {}), ...beside() });
  history.replaceState(null, "", `#${words}`);
}

const FEW = 5; // tiles, of which none tells what is usual
// Tiles that a person should see first: lost, slow, or with other classes than their neighbours.
function notice() {
  const tiles = state.layer.tiles;
  const done = tiles.filter((t) => t.state === "done" && !t.taken);
  const times = done.map((t) => t.seconds).sort((a, b) => a - b);
  const usual = times.length < FEW ? Infinity : times[times.length >> 1];
  const found = [];
  for (const tile of tiles) {
    if (tile.state === "lost") found.push([tile, "its file is gone"]);
    if (tile.state === "failed") found.push([tile, "its task has failed"]);
    if (tile.attempts > 1) found.push([tile, `done ${tile.attempts} times`]);
    if (!tile.taken && tile.seconds > 3 * usual && tile.seconds > 1) found.push([tile, `took ${hours(tile.seconds)}, usual is ${hours(usual)}`]);
    if (tile.odd) found.push([tile, tile.odd, true]); // in words
  }
  const failed = found.filter(([tile]) => tile.state === "failed" || tile.state === "lost").map(([tile]) => tile);
  const odd = found.filter(([, , isOdd]) => isOdd).map(([tile]) => tile);
  $("noticed-section").hidden = !found.length;
  $("all").replaceChildren(...redoButtons("Compute all failed again", failed), ...redoButtons("Compute all odd again", odd));
  $("noticed").replaceChildren(...found.slice(0, 100).map(([tile, why]) => {
    const button = element("button", { type: "button" }, tile.name);
    button.addEventListener("click", () => choose([tile.name]));
    return element("li", {}, button, ` ${why}`);
  }));
}

// Look at the last of some tiles; with more, they come to those that are chosen. One that is chosen is left out again.
function choose(names, more = false) {
  if (!names.length) return;
  if (!more) state.selected.clear();
  else if (names.length > 1 || !state.selected.delete(names[0])) names.forEach((name) => state.selected.add(name));
  if (more && state.chosen) state.selected.add(state.chosen);
  state.chosen = names.at(-1);
  if (state.layer.tiles.some((t) => t.name === state.chosen)) paint();
  showChosen();
}

function showChosen() {
  showTile($("tile"), state.run, state.chosen, beside()).then(() => {
    if (!host) return;
    const tile = state.layer.tiles.find((t) => t.name === state.chosen);
    const task = tile && state.task?.(tile);
    const tiles = state.selected.size ? state.layer.tiles.filter((t) => state.selected.has(t.name)) : tile ? [tile] : [];
    const actions = element("div", { class: "actions" }, ...redoButtons(tiles.length > 1 ? `Compute ${tiles.length} tiles again` : "Compute it again", tiles));
    if (task) {
      const log = element("button", { type: "button" }, `Log of its task (${task.state ?? "waiting"}, attempt ${task.attempt})`);
      log.addEventListener("click", () => host.open(host.log(task.index)));
      actions.append(log);
    }
    $("tile").append(actions);
  }).catch(tell);
}

// Runs that this one can be compared with: those that the host lists, or the one of --compare.
async function loadOthers(wanted) {
  const { run } = state;
  const others = host ? await host.others().catch(() => []) : run.other ? [{ id: "other", name: run.other }] : [];
  $("compare-section").hidden = !others.length;
  $("with").append(...others.map((o) => new Option(o.name, o.id)));
  $("with").addEventListener("change", () => compare($("with").value));
  const first = host ? wanted : others[0]?.id;
  if (others.some((o) => o.id === first)) compare(first);
}

// Begin, or end, the comparison with another run.
function compare(id) {
  $("with").value = state.other = id;
  $("of-label").hidden = $("by").querySelector("[value=differs]").hidden = !id;
  $("by").value = id ? "differs" : "state";
  $("of").value = id ? "difference" : "labels";
  $("comparison").replaceChildren();
  if (id) follow(id);
  if (state.layer) loadLayer().catch(tell);
  if (state.chosen && state.layer) showChosen();
}

let following = 0;
async function follow(id) {
  clearTimeout(following);
  const told = await get("api/comparison", beside()).catch((error) => error);
  if (id !== state.other) return;
  if (told instanceof Error) {
    $("comparison").replaceChildren(element("p", { role: "alert" }, told.message));
    return;
  }
  showComparison($("comparison"), told, (tile) => {
    const axis = state.axis;
    goTo(Math.floor((tile.lo[axis] + tile.hi[axis]) / 2));
    choose([tile.name]);
  });
  if (told.done < told.tiles) following = setTimeout(() => document.hidden ? waitFor(id) : (follow(id), refresh()), LOOK_MS);
}

// A page that nobody sees does not ask; the work rests meanwhile.
function waitFor(id) {
  document.addEventListener("visibilitychange", () => follow(id), { once: true });
}

async function refresh() {
  if (!state.layer) return;
  await loadDiffers().then(paint).catch(() => {});
}

// What share of each tile of the layer differs.
async function loadDiffers() {
  const { layer, axis } = state;
  if (layer.tiles.every((t) => t.differs != null)) return;
  const shares = await get("api/differs", { axis, number: layer.layer, ...beside() }).catch(() => []);
  layer.tiles.forEach((tile, i) => { tile.differs = shares[i] ?? null; });
}

// Buttons that have tiles computed again: by their tasks, and, where a task has more of them, by a run of just these.
function redoButtons(text, tiles) {
  const tasks = tiles.map((t) => state.task?.(t)).filter((task) => task !== undefined);
  if (!host || !tasks.length) return [];
  const indices = [...new Set(tasks.map((task) => task.index))];
  const { batch_size: size } = state.run;
  const isBatch = size > 1 && tasks.some((task) => task.isBatch);
  const again = async () => {
    await host.redo(indices);
    return `Asked for: ${names(tiles)} will be seen here.`;
  };
  if (!isBatch) return [asking(text, again)];
  const more = tiles.length > 1 ? `their batches of ${size} tiles` : `its batch of ${size} tiles`;
  if (!state.run.merged) return [asking(`${text}, with ${more}`, again)]; // a run of few needs the others
  const only = async () => {
    const id = await host.only(tiles.map((t) => t.name));
    const link = element("a", { href: "#" }, `run ${id}`);
    link.addEventListener("click", (event) => { event.preventDefault(); host.open(host.tasks(id)); });
    return element("span", {}, "Asked for, by ", link, `: ${names(tiles)} will be seen here.`);
  };
  const whole = asking(`With ${more}`, again);
  whole.classList.remove("strong");
  return [asking(`${text}, nothing else`, only), whole];
}

const names = (tiles) => (tiles.length > 3 ? `${tiles.length} tiles` : tiles.map((t) => t.name).join(", "));

function asking(text, ask) {
  const button = element("button", { type: "button", class: "strong" }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      $("asked").replaceChildren(await ask());
      state.selected.clear();
      await loadTasks();
      await loadLayer();
    } catch (error) {
      button.disabled = false;
      tell(error);
    }
  });
  return button;
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
      const often = turn++ % OFTEN === 0;
      const tasks = host && often;
      if (tasks) await loadTasks();
      if (revision !== seen || tasks) {
        if (revision !== seen) await loadRun();
        const told = await Promise.all([loadLayer(), loadProgress()]);
        if (revision !== seen && state.other) follow(state.other);
        seen = told.every((of) => of === revision) ? revision : ""; // else it is asked again
      }
      if (often) await loadPace();
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
