// Neuroglancer in a frame. When tiles were committed, what it has of the volume is asked for again.
import { get } from "./parts.js";

const LOOK_MS = 1000;
const $ = (id) => document.getElementById(id);

async function start() {
  const run = await get("api/run");
  $("name").textContent = run.name;
  document.title = `${run.name} in 3D - tbseg`;
  if (!run.client) {
    throw new Error("Neuroglancer is not installed beside tbseg\npip install 'tbseg[view]', then open this page again");
  }
  const base = new URL(".", location.href).href;
  const scene = JSON.parse(JSON.stringify(await get("api/scene")).replaceAll("{base}", base));
  const place = location.hash.slice(1).split(",").map(Number);
  if (place.length === 3 && place.every(Number.isFinite)) scene.position = place.reverse().map((n) => n + 0.5);
  $("frame").src = `v/3d/#!${encodeURIComponent(JSON.stringify(scene))}`;
  watch(run.revision);
}

// Neuroglancer keeps what it was told is not there, too. Most news are of classes: the volume is kept then.
function forget(rawToo) {
  const viewer = $("frame").contentWindow?.viewer;
  for (const source of viewer?.chunkManager.memoize.map.values() ?? []) {
    if (rawToo || !source.parameters?.url?.includes("/data/raw/")) source.invalidateCache?.();
  }
}

async function watch(seen) {
  let rawSeen = null;
  for (;; await new Promise((r) => setTimeout(r, LOOK_MS))) {
    if (document.hidden) continue;
    try {
      const { revision, raw } = await get("api/revision");
      if (revision !== seen) forget(raw !== rawSeen);
      seen = revision;
      rawSeen = raw;
      tell(null);
    } catch (error) {
      tell(error);
    }
  }
}

function tell(error) {
  $("message").textContent = error ? String(error.message ?? error) : "";
  $("message").hidden = !error;
}

start().catch(tell);
