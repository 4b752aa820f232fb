// Three planes of the volume from afar, to scale, and a box on them that is drawn, moved and sized
// by mouse, finger and keys.
import { element, svg } from "./parts.js";

const AXES = "zyx";
const VIEWS = [[0, 1, 2], [1, 0, 2], [2, 0, 1]]; // across, down, right

// A box that may be computed: in the volume, and no more than allowed. The sides that a person did
// not touch (`kept`: axes) give way first.
export function fitted(box, shape, limits, kept = []) {
  const lo = [...box.lo], hi = [...box.hi];
  for (const a of [0, 1, 2]) {
    const side = Math.max(1, Math.min(hi[a] - lo[a], limits.side, shape[a]));
    lo[a] = Math.max(0, Math.min(lo[a], shape[a] - side));
    hi[a] = lo[a] + side;
  }
  const size = () => [0, 1, 2].reduce((n, a) => n * (hi[a] - lo[a]), 1);
  for (const a of [...[0, 1, 2].filter((a) => !kept.includes(a)), ...kept]) {
    if (size() <= limits.most) break;
    const side = Math.max(1, Math.floor((limits.most * (hi[a] - lo[a])) / size()));
    lo[a] += Math.floor((hi[a] - lo[a] - side) / 2);
    hi[a] = lo[a] + side;
  }
  return { lo, hi };
}

export function makePlanes(root, changed) {
  let volume = null, limits = null, box = null, at = [0, 0, 0];
  let views = [];

  function place(view) {
    const { rect, across, down, right, line } = view;
    const [ky, kx] = [volume.scale[down], volume.scale[right]];
    if (!box) return rect.setAttribute("visibility", "hidden");
    const inside = at[across] >= box.lo[across] && at[across] < box.hi[across];
    const place = { x: box.lo[right] * kx, y: box.lo[down] * ky, width: (box.hi[right] - box.lo[right]) * kx, height: (box.hi[down] - box.lo[down]) * ky };
    const range = (a) => `${AXES[a]} ${box.lo[a]} to ${box.hi[a]}`;
    const look = { visibility: "visible", class: `box${inside ? "" : " away"}`, "aria-label": `The box: ${range(0)}, ${range(1)}, ${range(2)}. Arrow keys move it, plus and minus size it.` };
    for (const [name, value] of Object.entries({ ...place, ...look })) rect.setAttribute(name, value);
    if (down === 0) for (const [name, value] of Object.entries({ x1: 0, x2: volume.shape[right] * kx, y1: (at[0] + 0.5) * ky, y2: (at[0] + 0.5) * ky })) line.setAttribute(name, value);
  }

  function set(next, kept, told = true) {
    box = fitted(next, volume.shape, limits, kept);
    views.forEach(place);
    if (told) changed(box);
  }

  function voxel(view, event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(view.root.getScreenCTM().inverse());
    const clip = (value, a) => Math.max(0, Math.min(volume.shape[a] - 1, Math.floor(value)));
    return [clip(point.y / volume.scale[view.down], view.down), clip(point.x / volume.scale[view.right], view.right)];
  }

  function dragged(view, event) {
    if (!limits || event.button !== 0) return;
    event.preventDefault();
    const axes = [view.down, view.right], start = voxel(view, event), before = box && { lo: [...box.lo], hi: [...box.hi] };
    const moves = event.target === view.rect;
    view.root.setPointerCapture(event.pointerId);
    const move = (next) => {
      const now = voxel(view, next);
      const lo = [...before.lo], hi = [...before.hi];
      axes.forEach((a, i) => {
        if (moves) {
          lo[a] += now[i] - start[i];
          hi[a] += now[i] - start[i];
        } else {
          lo[a] = Math.min(now[i], start[i]);
          hi[a] = Math.max(now[i], start[i]) + 1;
        }
      });
      if (!moves && view.across === 0 && !(at[0] >= lo[0] && at[0] < hi[0])) { // what is drawn on a slice has that slice
        const depth = hi[0] - lo[0];
        lo[0] = at[0] - Math.floor(depth / 2);
        hi[0] = lo[0] + depth;
      }
      set({ lo, hi }, axes);
    };
    const end = () => { view.root.removeEventListener("pointermove", move); view.rect.focus(); };
    view.root.addEventListener("pointermove", move);
    view.root.addEventListener("pointerup", end, { once: true });
    view.root.addEventListener("pointercancel", end, { once: true });
  }

  function pressed(view, event) {
    const step = event.shiftKey ? 10 : 1;
    const way = { ArrowRight: [view.right, 1], ArrowLeft: [view.right, -1], ArrowDown: [view.down, 1], ArrowUp: [view.down, -1] }[event.key];
    const grow = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!box || !(way || grow)) return;
    event.preventDefault();
    const lo = [...box.lo], hi = [...box.hi];
    if (way) {
      lo[way[0]] += step * way[1];
      hi[way[0]] += step * way[1];
    } else {
      for (const a of [view.down, view.right]) {
        hi[a] += 2 * grow * step;
        lo[a] -= 2 * grow * step;
        if (hi[a] <= lo[a]) hi[a] = lo[a] + 1;
      }
    }
    set({ lo, hi }, [view.down, view.right]);
  }

  return {
    // `volume`: shape, voxel_size, pictures; `bounds`: of boxes, null if there is none to choose.
    show(found, bounds) {
      const size = found.voxel_size ?? [1, 1, 1], unit = Math.min(...size) || 1;
      volume = { ...found, scale: size.map((n) => n / unit) };
      limits = bounds;
      box = null;
      at = ["z", "y", "x"].map((name) => volume.pictures[name][volume.pictures[name].length >> 1].at);
      views = VIEWS.map(([across, down, right]) => {
        const [high, wide] = [down, right].map((a) => volume.shape[a] * volume.scale[a]);
        const image = svg("image", { width: wide, height: high, preserveAspectRatio: "none" });
        const over = svg("image", { preserveAspectRatio: "none", visibility: "hidden" });
        const rect = svg("rect", { tabindex: 0, role: "group", visibility: "hidden" });
        const line = svg("line", { class: "at" });
        const root_ = svg("svg", { class: "plane", viewBox: `0 0 ${wide} ${high}`, role: "group", "aria-label": `plane across ${AXES[across]}` }, image, over, line, rect);
        const caption = element("figcaption");
        const view = { root: root_, image, over, rect, line, caption, across, down, right, figure: element("figure", {}, root_, caption) };
        root_.addEventListener("pointerdown", (event) => dragged(view, event));
        rect.addEventListener("keydown", (event) => pressed(view, event));
        return view;
      });
      if (volume.shape[0] === 1) views.length = 1;
      root.replaceChildren(...views.map((view) => view.figure));
      for (const view of views.slice(1)) {
        const [picture] = volume.pictures[AXES[view.across]];
        view.image.setAttribute("href", picture.image);
        view.caption.textContent = `across ${AXES[view.across]}, at ${picture.at}`;
      }
    },
    slice(number) {
      const picture = volume.pictures.z[number];
      at[0] = picture.at;
      views[0].image.setAttribute("href", picture.image);
      views[0].caption.textContent = `across z, at ${picture.at}: y down, x to the right`;
      views.forEach(place);
    },
    set: (next, kept = []) => set(next, kept, false),
    get box() { return box; },
    get at() { return at; },
    // The classes of a box over the slice; null: none.
    over(result, picture) {
      const { over } = views[0];
      if (!picture) return over.setAttribute("visibility", "hidden");
      const [, ky, kx] = volume.scale;
      const [, y, x] = result.lo, [, y1, x1] = result.hi;
      for (const [name, value] of Object.entries({ visibility: "visible", href: picture, x: x * kx, y: y * ky, width: (x1 - x) * kx, height: (y1 - y) * ky })) over.setAttribute(name, value);
    },
  };
}
