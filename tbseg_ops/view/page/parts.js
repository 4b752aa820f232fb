// Small parts that the pages share.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function address(path, query = {}) {
  const text = new URLSearchParams(query).toString();
  return text ? `${path}?${text}` : path;
}

// JSON, or an Error with what the run says is wrong and its mend.
export async function get(path, query) {
  return (await getAt(path, query)).value;
}

// The same, and the revision of the run that it tells of: an answer may be a second old.
export async function getAt(path, query) {
  let answer;
  try {
    answer = await fetch(address(path, query));
  } catch {
    throw new Error("the server does not answer: has it ended?");
  }
  if (answer.ok) return { value: await answer.json(), revision: answer.headers.get("X-Revision") };
  const told = await answer.json().catch(() => ({}));
  const { what, mend } = told.error ?? {};
  throw new Error(what ? `${what}${mend ? `\n${mend}` : ""}` : told.detail ? String(told.detail) : `the server answers ${answer.status}`);
}

export function swatch(color, text) {
  const square = element("i", { class: "swatch" });
  square.style.background = color;
  return element("span", {}, square, text);
}

export function hours(seconds) {
  if (seconds < 90) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function rate(voxels) {
  const [number, unit] = voxels < 1e6 ? [voxels / 1e3, "thousand"] : [voxels / 1e6, "million"];
  return `${number.toFixed(number < 10 ? 1 : 0)} ${unit} voxels/s`;
}

// How fast a run is, and when it will be done, of what the server tells as its standing.
const RESTS = 600; // seconds without a tile
export function paceText({ speed, left, to_the_end: whole, latest }, now = Date.now() / 1000) {
  const found = speed ? [rate(speed)] : [];
  if (left) {
    const range = `${hours(left.expected)} left${whole ? "" : " to classify"} (${hours(left.low)} to ${hours(left.high)})`;
    const silence = latest ? now - latest : 0;
    found.push(silence > Math.max(RESTS, left.high) ? `no tile for ${hours(silence)}` : range);
  }
  return found.join(" · ");
}

// A small share is not told as none.
export function percent(share) {
  const value = 100 * share;
  return `${value && value < 0.05 ? value.toPrecision(1) : value.toFixed(1)} %`;
}

export function bytes(count) {
  if (count < 1e6) return `${Math.max(1, Math.round(count / 1e3))} kB`;
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(2)} GB`;
}

// A page of Airflow. The frame must not navigate the window above it; its router can be told.
export function openInAirflow(base, path) {
  if (parent === window) location.href = `${base}${path}`;
  else {
    parent.history.pushState(null, "", `${base}${path}`);
    parent.dispatchEvent(new PopStateEvent("popstate"));
  }
}

// In a frame of Airflow a page is light or dark as the window around it, also when that changes.
export function followTheme() {
  if (parent === window) return;
  const outer = parent.document.documentElement;
  const follow = () => { document.documentElement.dataset.theme = outer.classList.contains("dark") ? "dark" : "light"; };
  follow();
  new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["class"] });
}
