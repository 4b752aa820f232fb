// In Airflow's own window: opens the trigger form and types values into its fields, as a person
// would. A field that is not found is left: the form says what is missing.
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
    const kind = field.tagName === "TEXTAREA" ? HTMLTextAreaElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(field, value); // past React's own
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true }));
    field.dispatchEvent(new FocusEvent("focusout", { bubbles: true }));
  }

  async function fill() {
    const button = await until(() => document.querySelector('[data-testid="trigger-dag-button"]'));
    if (!button) return;
    button.click();
    if (!(await until(() => document.getElementById("element_volume")))) return;
    for (const [name, value] of Object.entries(values)) {
      const field = document.getElementById(`element_${name}`);
      if (field) type(field, [value].flat().join("\n"));
    }
  }
  fill();
})();
