// In Airflow's own window: opens the trigger form and types values into its text fields, as a person
// would. Fields of numbers and choices keep what a script types to themselves: these values, and
// what has no field, it tells instead, so that nothing is started without them unnoticed.
(() => {
  const values = JSON.parse(document.currentScript.dataset.values);
  document.currentScript.remove();
  const PATIENCE_MS = 20000;

  async function until(find) {
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await new Promise((r) => setTimeout(r, 100))) {
      const found = find();
      if (found) return found;
    }
    return null;
  }

  function type(field, value) {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, value); // past React's own
    for (const name of ["input", "change", "focusout"]) field.dispatchEvent(new Event(name, { bubbles: true }));
  }

  function tell(left) {
    const notice = document.createElement("div");
    notice.id = "tbseg-left";
    notice.setAttribute("role", "alert");
    notice.style = "position:fixed;inset:auto 1rem 1rem auto;z-index:99999;max-width:24rem;padding:.8rem 1rem;background:#fff8c5;color:#1b1f24;border:2px solid #bf8700;border-radius:.4rem;white-space:pre-wrap;overflow-wrap:anywhere;pointer-events:none";
    notice.textContent = `Please fill in yourself:\n${left.join("\n")}`;
    document.body.append(notice);
    addEventListener("popstate", () => notice.remove(), { once: true });
    setTimeout(() => notice.remove(), 120000);
  }

  async function fill() {
    const button = await until(() => document.querySelector('[data-testid="trigger-dag-button"]'));
    button?.click();
    const shown = button && (await until(() => document.getElementById("element_volume")));
    const left = [];
    for (const [name, value] of Object.entries(values)) {
      const field = shown && document.getElementById(`element_${name}`);
      if (field?.matches("input[type=text], input:not([type])") && !Array.isArray(value)) type(field, value);
      else left.push(`${name}: ${[value].flat().join(", ")}`);
    }
    if (left.length) tell(left);
  }
  fill();
})();
