// One tile: its planes with the classes over them, and all that its record says.
import { address, bytes, element, get, hours, swatch } from "./parts.js";

let wanted = 0;

// other: what names the run that this one is compared with, or {}.
export async function showTile(root, run, name, other = {}) {
  const mine = ++wanted;
  const tile = await get("api/tile", { name });
  if (mine !== wanted) return;
  const stamp = tile.record?.content.slice(0, 12) ?? tile.state;
  const [z, y, x] = tile.lo.map((lo, i) => `${lo} to ${tile.hi[i]}`);
  const rows = [["voxels z", z], ["y", y], ["x", x], ["state", tile.state]];
  if (tile.record) {
    const { record } = tile;
    rows.push(
      ["took", `${hours(record.seconds)}${record.attempts > 1 ? `, attempt ${record.attempts}` : ""}`],
      ["on", record.host],
      ["at", new Date(tile.committed * 1000).toLocaleString()],
      ["file", `${record.file} (${bytes(record.size)})`],
      ["tbseg", record.version]);
    if (record.origin) rows.push(["taken over from", record.origin]);
    if (record.derived) rows.push(["derived", "from labels that were computed earlier"]);
    if (record.not_finite) rows.push(["not finite", `${record.not_finite.toLocaleString()} voxels`]);
  }
  const parts = [
    element("h2", {}, `Tile ${tile.name}`),
    planes(run, tile, stamp, "labels", other),
  ];
  if (other.with) {
    parts.push(element("h3", {}, "The other run"), planes(run, tile, stamp, "other", other));
    parts.push(element("h3", {}, "What differs"), planes(run, tile, stamp, "difference", other));
  }
  if (tile.shares) parts.push(shares(run, tile));
  parts.push(element("table", {}, element("tbody", {}, ...rows.map(([k, v]) => element("tr", {}, element("th", { scope: "row" }, k), element("td", {}, v))))));
  if (tile.error) parts.push(element("pre", {}, tile.error.text));
  const middle = tile.lo.map((lo, i) => Math.floor((lo + tile.hi[i]) / 2));
  parts.push(element("p", {}, element("a", { href: `volume#${middle.join()}` }, "Look at it in 3D")));
  root.replaceChildren(...parts);
  root.dispatchEvent(new CustomEvent("tile", { detail: tile, bubbles: true }));
}

// The middle planes, with the classes of this run over them, of the other, or where they differ.
function planes(run, tile, stamp, over, other) {
  const size = run.voxel_size ?? [1, 1, 1];
  const box = [0, 1, 2].map((a) => [Math.max(tile.halo.lo[a], 0), Math.min(tile.halo.hi[a], run.shape[a])]);
  const words = { labels: "classes over it", other: "classes of the other run over it", difference: "what differs, over it" }[over];
  const figures = [["z", 0, 1, 2], ["y", 1, 0, 2], ["x", 2, 0, 1]].map(([name, axis, down, right]) => {
    const source = (kind) => address("api/tile-plane", { kind, axis, name: tile.name, stamp, ...other });
    const stack = element("div", { class: "stack" },
      element("img", { alt: `raw, plane across ${name}`, src: source("raw") }),
      element("img", { alt: words, class: over, src: source(over) }));
    const [high, wide] = [down, right].map((a) => (box[a][1] - box[a][0]) * size[a]);
    stack.style.aspectRatio = `${wide} / ${high}`;
    stack.firstChild.style.height = "100%";
    const part = (a, v) => `${(100 * (v - box[a][0])) / (box[a][1] - box[a][0])}%`;
    const core = element("div", { class: "core" });
    Object.assign(core.style, {
      top: part(down, tile.lo[down]), left: part(right, tile.lo[right]),
      height: `${(100 * (tile.hi[down] - tile.lo[down])) / (box[down][1] - box[down][0])}%`,
      width: `${(100 * (tile.hi[right] - tile.lo[right])) / (box[right][1] - box[right][0])}%`,
    });
    stack.append(core);
    return element("figure", {}, stack, element("figcaption", {}, `across ${name}`));
  });
  return element("div", { class: "planes" }, ...figures);
}

function shares(run, tile) {
  const bar = element("div", { class: "shares", "aria-hidden": "true" });
  const words = element("div", { class: "legend" });
  run.classes.forEach((c, i) => {
    const part = element("div");
    Object.assign(part.style, { width: `${100 * tile.shares[i]}%`, background: c.color });
    bar.append(part);
    words.append(swatch(c.color, `${c.label} ${(100 * tile.shares[i]).toFixed(1)} %`));
  });
  if (tile.outside > 0) words.append(element("span", {}, `outside of the mask: ${(100 * tile.outside).toFixed(1)} %`));
  return element("div", {}, bar, words);
}
