// "Run this" in Airflow: the trigger form of the DAG, filled in. Airflow's form takes no values from
// an address (it did before 3.0), so a script in the window around this page types them, after that
// window has gone to the DAG. Nothing is started: a person reads the form and triggers.
const DAG = "tbseg_segment";
const [, base] = location.pathname.match(/^(.*)\/tbseg\/look\//);

async function start(values) {
  const told = await fetch(`${base}/api/v2/dags/${DAG}`);
  if (!told.ok) throw new Error(told.status === 404 ? `Airflow does not know the DAG ${DAG} (yet)` : `Airflow does not show you the DAG ${DAG}`);
  const path = `${base}/dags/${DAG}`;
  if (parent !== window) {
    type(parent, values);
    // The frame must not navigate the window above it; its router can be told.
    parent.history.pushState(null, "", path);
    parent.dispatchEvent(new PopStateEvent("popstate"));
    return;
  }
  const other = open(path);
  if (!other) throw new Error(`the browser does not open ${path}: allow this page to`);
  other.addEventListener("load", () => type(other, values));
}

function type(where, values) {
  const script = where.document.createElement("script");
  script.src = `${base}/tbseg/look/fill.js`;
  script.dataset.values = JSON.stringify(values);
  where.document.head.append(script);
}

export default {
  label: "Fill in the form…",
  about: "Opens the form of tbseg_segment with these values; nothing starts before you press Trigger there.",
  start,
};
