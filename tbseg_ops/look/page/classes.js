// The computed classes of a box over its raw voxels: three planes through it, voxel by voxel.
import { element, swatch } from "./parts.js";

const AXES = "zyx";

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

export async function makeResult(answer) {
  const [labels, grey] = await Promise.all([unpacked(answer.labels), unpacked(answer.grey)]);
  const shape = answer.hi.map((n, a) => n - answer.lo[a]);
  const strides = [shape[1] * shape[2], shape[2], 1];
  return { ...answer, labels, grey, shape, strides };
}

const channels = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));

// A plane across an axis on a canvas, `at` counted from the box's first voxel.
export function paint(canvas, result, classes, { across, at, opacity, hidden, raw = true }) {
  const [down, right] = [0, 1, 2].filter((a) => a !== across);
  const [high, wide] = [result.shape[down], result.shape[right]];
  Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext("2d"), image = context.createImageData(wide, high);
  const colors = classes.map((c) => channels(c.color));
  for (let y = 0, to = 0; y < high; y++) {
    for (let x = 0; x < wide; x++, to += 4) {
      const from = at * result.strides[across] + y * result.strides[down] + x * result.strides[right];
      const label = result.labels[from], color = label && !hidden.has(label) ? colors[label - 1] : null;
      const part = color ? opacity : 0;
      for (let c = 0; c < 3; c++) image.data[to + c] = raw ? result.grey[from] * (1 - part) + (color?.[c] ?? 0) * part : color?.[c] ?? 0;
      image.data[to + 3] = raw ? 255 : 255 * part;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// Shares of the classes, each of which can be switched off.
export function shares(result, classes, changed) {
  const hidden = new Set(), total = result.labels.length;
  const rows = classes.map((c, i) => {
    const box = element("input", { type: "checkbox", checked: "" });
    box.addEventListener("change", () => { box.checked ? hidden.delete(i + 1) : hidden.add(i + 1); changed(); });
    return element("label", {}, box, swatch(c.color, ` ${c.label} ${((100 * (result.counts[i + 1] ?? 0)) / total).toFixed(1)} %`));
  });
  if (result.counts[0]) rows.push(element("span", {}, `outside of the mask: ${((100 * result.counts[0]) / total).toFixed(1)} %`));
  return { hidden, legend: element("div", { class: "legend" }, ...rows) };
}

export function showClose(root, under, result, classes, scale, look) {
  const views = [0, 1, 2].filter((across) => across === 0 || result.shape[0] > 1).map((across) => {
    const [down, right] = [0, 1, 2].filter((a) => a !== across);
    const canvas = element("canvas", { role: "img", "aria-label": `classes over raw, plane across ${AXES[across]}` });
    canvas.style.aspectRatio = `${result.shape[right] * scale[right]} / ${result.shape[down] * scale[down]}`;
    const caption = element("figcaption");
    const slider = element("input", { type: "range", min: 0, max: result.shape[across] - 1, value: result.shape[across] >> 1, "aria-label": `plane across ${AXES[across]}` });
    const draw = () => {
      paint(canvas, result, classes, { across, at: Number(slider.value), ...look() });
      caption.textContent = `across ${AXES[across]}, at ${result.lo[across] + Number(slider.value)}`;
    };
    slider.addEventListener("input", draw);
    canvas.addEventListener("pointermove", (event) => {
      const rect = canvas.getBoundingClientRect(), here = [0, 0, 0];
      here[across] = Number(slider.value);
      // `contain`: the picture may be narrower than its frame.
      const fit = Math.min(rect.width / (canvas.width * scale[right]), rect.height / (canvas.height * scale[down]));
      const [wide, high] = [canvas.width * scale[right] * fit, canvas.height * scale[down] * fit];
      const x = (event.clientX - rect.left - (rect.width - wide) / 2) / wide, y = (event.clientY - rect.top - (rect.height - high) / 2) / high;
      if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
      here[down] = Math.floor(y * canvas.height);
      here[right] = Math.floor(x * canvas.width);
      const label = result.labels[here.reduce((n, v, a) => n + v * result.strides[a], 0)];
      under.textContent = `${here.map((v, a) => `${AXES[a]} ${result.lo[a] + v}`).join(", ")}: ${classes[label - 1]?.label ?? "outside of the mask"}`;
    });
    return { draw, figure: element("figure", {}, canvas, slider, caption) };
  });
  root.replaceChildren(...views.map((view) => view.figure));
  const draw = () => views.forEach((view) => view.draw());
  draw();
  return draw;
}
