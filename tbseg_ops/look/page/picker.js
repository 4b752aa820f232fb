// Picks a volume or a classifier below the folders that may be looked at. Names are put in as text.
import { element, get } from "./parts.js";

const $ = (id) => document.getElementById(id);
const MARKS = { folder: "📁", volume: "▦", classifier: "◆" };

// Calls `chosen` with a path of that kind: "volume" or "classifier".
export function pick(kind, begin, chosen) {
  const dialog = $("picker");
  $("picker-title").textContent = kind === "volume" ? "Pick a volume" : "Pick a classifier";
  $("picker-close").onclick = () => dialog.close();
  const take = (path) => { dialog.close(); chosen(path); };

  async function show(path) {
    let found;
    try {
      found = await get("api/folder", { path });
    } catch (error) {
      if (path) return show("");
      $("picker-message").textContent = error.message;
      $("picker-message").hidden = false;
      $("picker-path").textContent = "";
      return $("picker-list").replaceChildren();
    }
    $("picker-message").hidden = true;
    $("picker-path").textContent = found.path;
    const row = (mark, text, act) => {
      const button = element("button", { type: "button" }, `${mark} ${text}`);
      button.addEventListener("click", act);
      return element("li", {}, button);
    };
    const rows = [];
    if (found.parent !== null) rows.push(row("↑", "up", () => show(found.parent)));
    if (kind === "volume" && found.slices > 1) rows.push(row("▦", `this folder: ${found.slices.toLocaleString()} TIFF files as slices`, () => take(found.path)));
    for (const entry of found.entries) {
      if (entry.kind === "folder") rows.push(row(MARKS.folder, `${entry.name}/`, () => show(entry.path)));
      else if (entry.kind === kind) rows.push(row(MARKS[kind], entry.name, () => take(entry.path)));
    }
    if (!rows.some((r) => r) || (rows.length === 1 && found.parent !== null)) rows.push(element("li", { class: "sub" }, `no ${kind} here`));
    if (found.more) rows.push(element("li", { class: "sub" }, "and more, which are not shown: type the path"));
    $("picker-list").replaceChildren(...rows);
    $("picker-list").querySelector("button")?.focus();
  }

  $("picker-list").replaceChildren();
  dialog.showModal();
  show(begin);
}
