// The tiles of one layer, across z, y or x, over a picture of the slice. Every state has a mark of its own beside its
// colour: waiting is dashed, cut is dashed and striped, done is framed, lost is crossed out.
import { address, hours, percent, svg, swatch } from "./parts.js";

const HOSTS = ["#4c9be8", "#e8a33d", "#8bc34a", "#d66bd6", "#f06060", "#40c4b4", "#c0a080", "#9a8cf0"];
const RAMP = ["#2c3e8f", "#2f8fb0", "#4fc08d", "#f2d14b"];
export const WORDS = { waiting: "waiting", cut: "cut, not classified", running: "being classified", done: "classified", failed: "failed", lost: "file lost" };

// The axes of the volume that go down and to the right in a plane across another one.
export const across = (axis) => [0, 1, 2].filter((a) => a !== axis);

const DRAG = 6; // pixels that tell a box from a click

// choose(names, more): tiles; turn(axis, step): planes across another axis, or the next layer.
export function makeMap(root, choose, turn) {
  const defs = svg("defs", {},
    pattern("waiting", [["rect", { width: 8, height: 8, fill: "#818b98", "fill-opacity": 0.35 }]]),
    pattern("cut", [["rect", { width: 8, height: 8, fill: "#bf8700", "fill-opacity": 0.12 }], ["path", { d: "M0 8L8 0", stroke: "#ffc94d", "stroke-width": 0.8, "stroke-opacity": 0.5 }]]),
    pattern("running", [["rect", { width: 8, height: 8, fill: "#1f8fd6", "fill-opacity": 0.25 }], ["path", { d: "M2 1L6 4L2 7Z", fill: "#8fd3ff", "fill-opacity": 0.8 }]]),
    pattern("failed", [["rect", { width: 8, height: 8, fill: "#cf222e", "fill-opacity": 0.45 }], ["path", { d: "M4 1V5M4 6V7", stroke: "#fff", "stroke-width": 1.2 }]]),
    pattern("lost", [["rect", { width: 8, height: 8, fill: "#cf222e", "fill-opacity": 0.5 }], ["path", { d: "M0 0L8 8M0 8L8 0", stroke: "#fff", "stroke-width": 1 }]]));
  const raw = svg("image", { preserveAspectRatio: "none" });
  const classes = svg("image", { preserveAspectRatio: "none", opacity: 0.45 });
  const tiles = svg("g");
  const band = svg("rect", { class: "band", display: "none" });
  root.append(defs, raw, classes, tiles, band);
  let shown = new Map();
  let again = 0;

  // A box that is drawn with Shift chooses what it touches.
  let from = null;
  let dragged = false;
  const point = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(root.getScreenCTM().inverse());
  const boxed = (event) => {
    const to = point(event);
    return { x: Math.min(from.x, to.x), y: Math.min(from.y, to.y), width: Math.abs(from.x - to.x), height: Math.abs(from.y - to.y) };
  };
  root.addEventListener("pointerdown", (event) => {
    dragged = false;
    if (event.button || !event.shiftKey) return;
    event.preventDefault();
    from = Object.assign(point(event), { clientX: event.clientX, clientY: event.clientY });
  });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    dragged ||= Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) > DRAG;
    if (dragged) for (const [name, value] of Object.entries({ ...boxed(event), display: "" })) band.setAttribute(name, value);
  });
  addEventListener("pointerup", (event) => {
    if (from && dragged) {
      const box = boxed(event);
      const touched = [...shown.values()].filter((rect) => {
        const { x, y, width, height } = rect.getBBox();
        return x < box.x + box.width && box.x < x + width && y < box.y + box.height && box.y < y + height;
      });
      choose(touched.map((rect) => rect.dataset.name), true);
    }
    from = null;
    band.setAttribute("display", "none");
  });
  root.addEventListener("click", (event) => { if (dragged) event.stopPropagation(); }, true);

  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const name = event.target.dataset?.name;
    if (!name || event.altKey || event.metaKey) return;
    if ("zyx".includes(event.key)) turn("zyx".indexOf(event.key), 0);
    else if (event.key === "PageDown" || event.key === "PageUp") {
      event.preventDefault();
      turn(null, event.key === "PageDown" ? 1 : -1);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose([name], event.shiftKey || event.ctrlKey);
    } else if (step) {
      event.preventDefault();
      const [down, right] = event.target.dataset.place.split(",").map(Number);
      const next = [...shown.values()].find((r) => r.dataset.place === `${down + step[0]},${right + step[1]}`);
      if (!next) return;
      rove(next);
      next.focus();
      if (event.shiftKey) choose([name, next.dataset.name], true);
    }
  });

  function rove(rect) {
    for (const other of shown.values()) other.setAttribute("tabindex", -1);
    rect.setAttribute("tabindex", 0);
  }

  // Pictures are exchanged when they have come: nothing flickers.
  function picture(image, query, box) {
    const key = JSON.stringify(query);
    if (image.dataset.key === key) return;
    image.dataset.key = key;
    const url = address("api/plane", query);
    fetch(url).then(async (answer) => {
      if (!answer.ok || image.dataset.key !== key) return;
      const blob = URL.createObjectURL(await answer.blob());
      const old = image.getAttribute("href");
      for (const [name, value] of Object.entries({ ...box, href: blob })) image.setAttribute(name, value);
      if (old) setTimeout(() => URL.revokeObjectURL(old), 1000);
      if (answer.status === 206) {
        clearTimeout(again);
        again = setTimeout(() => { if (image.dataset.key === key) { delete image.dataset.key; picture(image, query, box); } }, 100);
      }
    }).catch(() => delete image.dataset.key);
  }

  return {
    // kind: which classes are laid over the picture, or ""; query: what other run they may be of.
    draw(run, layer, { axis, at, by, kind, query, chosen, selected }) {
      const [down, right] = across(axis);
      const [height, width] = [run.shape[down], run.shape[right]];
      const size = run.voxel_size ?? [1, 1, 1];
      const unit = Math.min(size[down], size[right]) || 1;
      const [ky, kx] = [size[down] / unit, size[right] / unit];
      const box = { x: 0, y: 0, width: width * kx, height: height * ky };
      root.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
      root.classList.toggle("close", Math.max(width, height) < 700);
      for (const p of defs.children) p.setAttribute("patternTransform", `scale(${Math.max(box.width, box.height) / 700})`);
      picture(raw, { kind: "raw", axis, at, slabs: run.slabs.done }, box);
      classes.style.display = kind ? "" : "none";
      classes.setAttribute("opacity", kind === "difference" ? 0.8 : 0.45);
      if (kind) picture(classes, { kind, axis, at, rev: run.revision, ...query }, box);

      const { paint, legend } = scheme(run, layer, by);
      const before = shown;
      const held = tiles.contains(document.activeElement) ? document.activeElement.dataset.place : null;
      shown = new Map();
      for (const tile of layer.tiles) {
        const rect = before.get(tile.name) ?? svg("rect", { role: "button" });
        before.delete(tile.name);
        const [color, alpha] = paint(tile);
        const fresh = rect.dataset.state && rect.dataset.state !== tile.state ? " fresh" : "";
        Object.assign(rect.dataset, { name: tile.name, place: `${tile.position[down]},${tile.position[right]}`, state: tile.state });
        const place = { x: tile.lo[right] * kx, y: tile.lo[down] * ky, width: (tile.hi[right] - tile.lo[right]) * kx, height: (tile.hi[down] - tile.lo[down]) * ky };
        const look = { fill: color, "fill-opacity": alpha, class: `tile ${tile.state}${tile.name === chosen ? " chosen" : ""}${selected.has(tile.name) ? " selected" : ""}${fresh}` };
        const label = `${tile.name}: ${WORDS[tile.state]}${tile.seconds !== undefined ? `, ${hours(tile.seconds)} on ${tile.host}` : ""}${tile.differs == null ? "" : `, ${percent(tile.differs)} differ`}`;
        for (const [name, value] of Object.entries({ ...place, ...look, "aria-label": label, "aria-pressed": tile.name === chosen || selected.has(tile.name), tabindex: -1 })) rect.setAttribute(name, value);
        rect.onclick = (event) => { rove(rect); choose([tile.name], event.shiftKey || event.ctrlKey || event.metaKey); };
        shown.set(tile.name, rect);
        if (!rect.parentNode) tiles.append(rect);
      }
      for (const rect of before.values()) rect.remove();
      const first = shown.get(chosen) ?? shown.values().next().value;
      if (first) rove(first);
      if (held !== null && !tiles.contains(document.activeElement)) { // its tile is gone: to the one in its place
        const heir = [...shown.values()].find((r) => r.dataset.place === held) ?? first;
        rove(heir);
        heir.focus({ preventScroll: true });
      }
      const top = shown.get(chosen);
      if (top && top !== tiles.lastChild && document.activeElement !== top) tiles.append(top); // its frame over its neighbours'
      return legend;
    },
  };
}

function scheme(run, layer, by) {
  const open = (tile) => (tile.state === "done" ? null : [`url(#${tile.state})`, 1]);
  const marks = Object.entries(count(layer.tiles)).map(([state, n]) => {
    const look = { waiting: "repeating-linear-gradient(90deg,#818b98 0 3px,transparent 3px 6px)", cut: "repeating-linear-gradient(45deg,#bf8700 0 3px,transparent 3px 6px)", done: "transparent", running: "repeating-linear-gradient(90deg,#1f8fd6 0 4px,#8fd3ff 4px 6px)", failed: "repeating-linear-gradient(0deg,#cf222e 0 4px,#fff 4px 5px)", lost: "repeating-linear-gradient(45deg,#cf222e 0 3px,#fff 3px 4px)" }[state];
    return swatch(look, `${WORDS[state]}: ${n}`);
  });
  if (by === "host") {
    const hosts = [...new Set(layer.tiles.map((t) => t.host).filter(Boolean))].sort();
    const color = (host) => HOSTS[hosts.indexOf(host) % HOSTS.length];
    return {
      paint: (t) => open(t) ?? [color(t.host), 0.5],
      legend: [...marks, ...hosts.map((h) => swatch(color(h), h))],
    };
  }
  if (by === "state") return { paint: (t) => open(t) ?? ["transparent", 1], legend: marks };
  if (by === "differs" && layer.tiles.every((t) => t.differs == null)) return { paint: (t) => open(t) ?? ["transparent", 1], legend: [...marks, swatch("transparent", "not compared yet")] };
  const share = by.startsWith("class-") ? Number(by.slice(6)) : null;
  const value = (t) => (by === "differs" ? t.differs : share === null ? t.seconds : t.shares[share]);
  const values = layer.tiles.filter((t) => t.state === "done").map(value).filter((v) => v != null);
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const text = (v) => (by === "seconds" ? hours(v) : percent(v));
  const ramp = swatch(`linear-gradient(90deg, ${RAMP.join()})`, `${by === "differs" ? `up to ${text(high)} of a tile differ` : `${text(low)} to ${text(high)}`}`);
  ramp.firstChild.classList.add("ramp");
  return { paint: (t) => open(t) ?? (by === "differs" && !value(t) ? ["transparent", 1] : null) ?? [ramped((value(t) - low) / (high - low || 1)), 0.65], legend: [...marks, ramp] };
}

function count(tiles) {
  const found = {};
  for (const tile of tiles) found[tile.state] = (found[tile.state] ?? 0) + 1;
  return found;
}

function ramped(part) {
  const at = Math.min(Math.max(part, 0), 1) * (RAMP.length - 1);
  const i = Math.min(Math.floor(at), RAMP.length - 2);
  return `color-mix(in oklab, ${RAMP[i + 1]} ${Math.round(100 * (at - i))}%, ${RAMP[i]})`;
}

function pattern(id, shapes) {
  return svg("pattern", { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" }, ...shapes.map(([name, attributes]) => svg(name, attributes)));
}
