// What the comparison with another run has found so far: share, classes, the tiles that differ most.
import { element, percent } from "./parts.js";

export function showComparison(root, found, choose) {
  const whole = found.done === found.tiles;
  const looked = whole ? `all ${found.tiles.toLocaleString()} tiles` : `${found.done.toLocaleString()} of ${found.tiles.toLocaleString()} tiles so far`;
  const bar = element("div", { class: "bar", role: "progressbar", "aria-label": "tiles compared", "aria-valuemin": 0, "aria-valuemax": found.tiles, "aria-valuenow": found.done }, element("div"));
  bar.firstChild.style.width = `${(100 * found.done) / found.tiles}%`;
  const parts = [
    element("p", {}, element("strong", {}, percent(found.share)), ` of ${found.voxels.toLocaleString()} voxels differ, in ${found.differing.toLocaleString()} tiles (${looked})`),
    ...(whole ? [] : [bar]),
    confusion(found),
  ];
  if (found.most.length) {
    parts.push(element("h3", {}, "Tiles that differ most"), element("ul", { class: "noticed", tabindex: 0, "aria-label": "Tiles that differ most" }, ...found.most.map((tile) => {
      const button = element("button", { type: "button" }, tile.name);
      button.addEventListener("click", () => choose(tile));
      return element("li", {}, button, ` ${percent(tile.share)}`);
    })));
  }
  // Who is in the list, stays there.
  const focused = root.contains(document.activeElement) ? document.activeElement.textContent : null;
  const scrolled = root.querySelector("ul")?.scrollTop ?? 0;
  root.replaceChildren(...parts);
  if (root.querySelector("ul")) root.querySelector("ul").scrollTop = scrolled;
  [...root.querySelectorAll("button")].find((b) => b.textContent === focused)?.focus({ preventScroll: true });
}

// Voxels by class: rows of this run, columns of the other; without those that nobody has.
function confusion({ first_classes: rows, second_classes: columns, confusion: counts }) {
  const across = columns.map((_, j) => j).filter((j) => counts.some((row) => row[j]));
  const down = rows.map((_, i) => i).filter((i) => counts[i].some((n) => n));
  const head = element("tr", {}, element("td"), ...across.map((j) => element("th", { scope: "col" }, columns[j])));
  const body = down.map((i) => element("tr", {}, element("th", { scope: "row" }, rows[i]), ...across.map((j) =>
    element("td", { class: rows[i] === columns[j] ? "same" : "" }, counts[i][j].toLocaleString()))));
  return element("div", { class: "confusion", tabindex: 0, role: "region", "aria-label": "Voxels by class" },
    element("table", {}, element("caption", {}, "Voxels by class: of this run down, of the other across"), element("thead", {}, head), element("tbody", {}, ...body)));
}
