// The page "Before the run". All addresses are relative to where it is served; whatever comes from
// files, names and classifiers is put in as text, never as markup.
import start from "./start.js";
import { ask, sentence } from "./ask.js";
import { makeResult, paint, shares, showClose } from "./classes.js";
import { element, followTheme, get, svg, swatch } from "./parts.js";
import { pick } from "./picker.js";
import { fitted, makePlanes } from "./planes.js";

const AXES = "zyx";
const $ = (id) => document.getElementById(id);
const short = (n) => Number(n.toPrecision(4)).toLocaleString();
const by = (numbers) => numbers.map((n) => Number(n.toPrecision(4))).join(" × ");
const state = { asked: null, found: null, result: null, hidden: new Set(), looking: null, computing: null };
const planes = makePlanes($("planes"), boxChanged);
let redraw = () => {};

async function begin() {
  followTheme();
  const [{ fields, given }, names] = await Promise.all([get("api/options"), get("api/datasets").catch(() => [])]);
  for (const field of fields) $(field.more ? "more-fields" : "fields").append(fieldOf(field, given[field.name]));
  $("dataset").append(...names.map((name) => new Option(name, name)));
  $("dataset-field").hidden = !names.length;
  if (given.dataset) {
    if (!names.includes(given.dataset)) $("dataset").append(new Option(given.dataset, given.dataset));
    $("dataset-field").hidden = false;
    $("dataset").value = given.dataset;
  }
  $("dataset").addEventListener("change", whose);
  $("form").addEventListener("submit", (event) => { event.preventDefault(); look(); });
  $("stop").addEventListener("click", () => state.looking?.abort());
  $("halt").addEventListener("click", () => state.computing?.abort());
  $("z").addEventListener("input", slice);
  $("compute").addEventListener("click", compute);
  $("opacity").addEventListener("input", () => { redraw(); overlay(); });
  whose();
  if (given.dataset || given.volume) look();
}

function fieldOf({ name, title, help, empty, examples, type, choices, more }, given) {
  const about = `${help}${empty ? ` Empty: ${empty}.` : ""}`;
  let input;
  if (Object.keys(choices).length) {
    input = element("select", { id: name, name, title: about });
    input.append(...Object.entries(choices).map(([value, what]) => new Option(`${value}: ${what}`, value)));
  } else if (type === "array") {
    input = element("textarea", { id: name, name, rows: 2, title: `${about} One a line.` });
  } else {
    input = element("input", { id: name, name, type: "text", title: about, placeholder: more ? empty || "" : `such as ${examples[0] ?? "/data/classifier.ilp"}`, spellcheck: false, autocomplete: "off" });
  }
  if (given !== undefined) input.value = Array.isArray(given) ? given.join("\n") : given;
  if (given !== undefined && more) $("more").open = true;
  const row = element("div", { class: "given" }, input);
  if (!more) {
    const button = element("button", { type: "button" }, "Pick…");
    button.addEventListener("click", () => pick(name, input.value.replace(/\/[^/]*$/, ""), (path) => { input.value = path; input.focus(); }));
    row.append(button);
  }
  return element("label", {}, title, row);
}

// A dataset has all that the other fields say.
function whose() {
  const named = $("dataset").value !== "";
  for (const id of ["fields", "more"]) $(id).hidden = named;
}

function texts() {
  const found = {};
  for (const input of $("form").querySelectorAll("#fields [name], #more-fields [name]")) {
    const value = input.value.trim();
    if (input.tagName === "TEXTAREA") { if (value) found[input.name] = value.split("\n").map((l) => l.trim()).filter(Boolean); }
    else if (value && !(input.tagName === "SELECT" && input.selectedIndex === 0)) found[input.name] = value;
  }
  return found;
}

// One thing at a time is asked for; a new question ends the one before.
async function during(which, path, body, buttons, doing) {
  state[which]?.abort();
  const mine = (state[which] = new AbortController());
  const [go, stop] = buttons.map($);
  stop.hidden = false;
  $(doing).textContent = "…";
  try {
    return await ask(path, body, (text) => { $(doing).textContent = text; }, mine.signal);
  } finally {
    if (state[which] === mine) {
      if (document.activeElement === stop) go.focus();
      stop.hidden = true;
      $(doing).textContent = "";
    }
  }
}

function tell(id, error) {
  $(id).textContent = error && error.name !== "AbortError" ? String(error.message ?? error) : "";
  $(id).hidden = !$(id).textContent;
}

async function look() {
  const dataset = $("dataset").value;
  const asked = dataset ? { dataset } : { texts: texts() };
  state.computing?.abort();
  tell("message", null);
  try {
    const found = await during("looking", dataset ? "api/dataset" : "api/volume", asked, ["look", "stop"], "doing");
    Object.assign(state, { asked, found, result: null });
    show();
  } catch (error) {
    tell("message", error);
  }
}

function show() {
  const { found } = state, { volume } = found;
  $("found").hidden = false;
  $("refusals").replaceChildren(...found.refusals.map((one) => element("p", { role: "alert" }, `${sentence(one)}${one.file ? `\n${one.file}` : ""}`)));
  $("slices").hidden = $("volume-section").hidden = !volume;
  $("classifier-section").hidden = !found.classifier;
  if (volume) showVolume();
  if (found.classifier) showClassifier();
  showFit();
  showRun();
  const limits = found.preview?.lo ? found.preview : null;
  $("preview").hidden = !found.preview;
  $("result").hidden = true;
  $("compute").disabled = !limits;
  tell("refused", found.preview?.refusal ? sentence(found.preview.refusal) : null);
  if (volume) {
    planes.show({ ...volume, pictures: found.pictures }, limits);
    $("z").max = found.pictures.z.length - 1;
    $("z").value = found.pictures.z.length >> 1;
    if (limits) {
      planes.set(limits);
      showBox();
    }
    slice();
  }
}

function rows(id, pairs) {
  $(id).replaceChildren(...pairs.filter(([, value]) => value).map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value))));
}

function showVolume() {
  const { volume, first, second, last, values, warnings, histogram, pictures } = state.found;
  rows("about-volume", [
    ["kind", volume.kind],
    ["shape", `${volume.shape.join(" × ")} (z, y, x)`],
    ["type", volume.dtype],
    ["channels", String(volume.channels)],
    ["voxel", volume.voxel_size ? `${by(volume.voxel_size)} ${volume.unit ?? ""} (z, y, x)` : "size unknown: drawn as cubes"],
    ["order", `z = 0 is ${first}${second ? `; then ${second}, … ${last}` : ""}`],
    ["values", values && `${short(values[0])} to ${short(values[1])}, of a few slices`],
  ]);
  $("notes").replaceChildren(...warnings.map((text) => element("li", { class: "note" }, `note: ${text}`)));
  const { z } = pictures;
  $("afar").textContent = `${z.length === volume.shape[0] ? "All" : `${z.length} of ${volume.shape[0].toLocaleString()}`} slices, seen from afar${volume.channels > 1 ? "; the first channel" : ""}.`;
  showHistogram(histogram);
}

// The values of some voxels, and between which ones the trees of the classifier tell them apart.
function showHistogram({ ends, channels, thresholds }) {
  $("histogram").replaceChildren(...channels.map((counts, c) => {
    const most = Math.log1p(Math.max(...counts, 1));
    const bars = counts.map((n, i) => svg("rect", { x: i, width: 0.9, y: 40 * (1 - Math.log1p(n) / most), height: (40 * Math.log1p(n)) / most }));
    const asked = thresholds[c];
    const place = (value) => (counts.length * (value - ends[0])) / (ends[1] - ends[0]);
    const lines = (asked ?? []).map(place).filter((x) => x >= 0 && x <= counts.length).map((x) => svg("line", { x1: x, x2: x, y1: 0, y2: 40 }));
    const chart = svg("svg", { class: "bars", viewBox: `0 0 ${counts.length} 40`, preserveAspectRatio: "none", role: "img", "aria-label": `histogram of the raw values, ${short(ends[0])} to ${short(ends[1])}` }, ...bars, ...lines);
    const trees = asked ? ` Dashed: the trees ask for values between ${short(asked[0])} and ${short(asked[1])}.` : "";
    return element("figure", { style: "margin:0" }, chart, element("figcaption", { class: "sub" }, `${channels.length > 1 ? `Channel ${c + 1}: ` : ""}${short(ends[0])} to ${short(ends[1])}, counts as logarithms.${trees}`));
  }));
}

function showClassifier() {
  const { classifier } = state.found;
  $("classes").replaceChildren(...classifier.classes.map((c) => swatch(c.color, `${c.label}${c.known ? "" : " (never drawn)"}`)));
  rows("about-classifier", [
    ["file", classifier.path],
    ["ilastik", classifier.ilastik],
    ["channels", String(classifier.channels)],
    ["features", `${classifier.features}, ${classifier.columns} columns, scales ${classifier.scales.join(", ")}`],
    ["forest", `${classifier.trees} trees${classifier.stages > 1 ? ", the second of two stages" : ""}`],
    ["halo", state.found.preview?.halo && `${state.found.preview.halo.join(" × ")} voxels (z, y, x)`],
    ["note", classifier.notes.join("; ")],
  ]);
}

function showFit() {
  const { refusals, unfit, classifier, volume } = state.found;
  const item = (look, text) => element("li", { class: look }, text);
  if (refusals.length) $("fit").replaceChildren(item("bad", "✗ A run would be refused: see what stands above the slices."));
  else if (!classifier || !volume) $("fit").replaceChildren(item("note", "Name a classifier to be told."));
  else if (unfit.length) $("fit").replaceChildren(...unfit.map((text) => item("", `⚠ warning: ${text}`)));
  else $("fit").replaceChildren(item("good", "✓ no warnings: nothing that can be seen speaks against it"));
}

async function showRun() {
  const { asked, found } = state;
  const values = asked.dataset ? { dataset: asked.dataset } : asked.texts;
  if (!found.classifier || !found.volume || found.refusals.length) {
    $("run").replaceChildren(element("p", { class: "sub" }, "As soon as volume and classifier can be used."));
  } else if (start) {
    const button = element("button", { type: "button", class: "strong" }, start.label);
    button.addEventListener("click", () => start.start(values).catch((error) => tell("message", error)));
    $("run").replaceChildren(element("p", { class: "sub" }, start.about), button);
  } else {
    const { command } = await get("api/command", { of: JSON.stringify(values) });
    const copy = element("button", { type: "button" }, "Copy");
    copy.addEventListener("click", () => navigator.clipboard.writeText(command).then(() => { copy.textContent = "Copied"; }));
    $("run").replaceChildren(element("pre", { class: "command" }, command), copy);
  }
}

function slice() {
  const number = Number($("z").value);
  planes.slice(number);
  $("z-text").value = planes.at[0];
  overlay();
}

function overlay() {
  const { result, found } = state, z = planes.at[0];
  if (!result || z < result.lo[0] || z >= result.hi[0]) return planes.over(null, null);
  const canvas = document.createElement("canvas");
  paint(canvas, result, found.classifier.classes, { across: 0, at: z - result.lo[0], opacity: $("opacity").value / 100, hidden: state.hidden, raw: false });
  planes.over(result, canvas.toDataURL());
}

function boxChanged() {
  showBox();
}

function showBox() {
  const { box } = planes, { shape } = state.found.volume;
  if (!$("box").children.length) {
    for (const a of [0, 1, 2]) {
      const inputs = ["lo", "hi"].map((end) => {
        const input = element("input", { type: "number", id: `${AXES[a]}-${end}`, min: end === "lo" ? 0 : 1, "aria-label": `${AXES[a]}, ${end === "lo" ? "from" : "to, not included"}` });
        input.addEventListener("change", typed);
        return input;
      });
      $("box").append(element("fieldset", {}, element("span", {}, AXES[a]), inputs[0], "to", inputs[1]));
    }
  }
  for (const a of [0, 1, 2]) {
    for (const end of ["lo", "hi"]) {
      $(`${AXES[a]}-${end}`).value = box[end][a];
      $(`${AXES[a]}-${end}`).max = shape[a];
    }
  }
  const sides = box.hi.map((n, a) => n - box.lo[a]);
  $("compute").textContent = `Show the classes of ${sides.join(" × ")} voxels`;
}

function typed(event) {
  const read = (end) => [0, 1, 2].map((a) => Math.round(Number($(`${AXES[a]}-${end}`).value)) || 0);
  const axis = AXES.indexOf(event.target.id[0]);
  planes.set(fitted({ lo: read("lo"), hi: read("hi") }, state.found.volume.shape, state.found.preview, [axis]), [axis]);
  showBox();
}

async function compute() {
  const { asked, found } = state, { box } = planes;
  tell("refused", null);
  try {
    const answer = await during("computing", "api/classes", { ...asked, box, bounds: found.bounds }, ["compute", "halt"], "computing");
    if (state.found !== found) return;
    const result = (state.result = await makeResult(answer));
    const { hidden, legend } = shares(result, found.classifier.classes, () => { redraw(); overlay(); });
    state.hidden = hidden;
    $("result").hidden = false;
    $("shares").replaceChildren(legend, element("p", { class: "sub" }, `${result.labels.length.toLocaleString()} voxels, read and computed in ${result.seconds} s. A run has the same labels there.`));
    const size = found.volume.voxel_size ?? [1, 1, 1];
    redraw = showClose($("close"), $("under"), result, found.classifier.classes, size, () => ({ opacity: $("opacity").value / 100, hidden }));
    const inside = found.pictures.z.findIndex(({ at }) => at >= (result.lo[0] + result.hi[0]) >> 1);
    if (!(planes.at[0] >= result.lo[0] && planes.at[0] < result.hi[0]) && inside >= 0) $("z").value = inside;
    slice();
  } catch (error) {
    tell("refused", error);
  }
}

begin().catch((error) => tell("message", error));
