// In Airflow's own window: opens the trigger form and types values into its fields, as a person
// would. What it cannot type it says, so that nothing is started without it.
(() => {
  const values = JSON.parse(document.currentScript.dataset.values);
  document.currentScript.remove();
  const PATIENCE_MS = 20000;

  async function until(find, patience = PATIENCE_MS) {
    for (const end = Date.now() + patience; Date.now() < end; await new Promise((r) => setTimeout(r, 100))) {
      const found = find();
      if (found) return found;
    }
    return null;
  }

  function type(field, value, leave = true) {
    const kind = field.tagName === "TEXTAREA" ? HTMLTextAreaElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(field, value); // past React's own
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true }));
    if (leave) field.dispatchEvent(new FocusEvent("focusout", { bubbles: true }));
  }

  // In a list of choices: those that begin with a value, of which the first is taken.
  async function choose(field, value) {
    const input = field.querySelector("input:not([type=hidden])");
    if (!input) return false;
    for (const one of [value].flat()) {
      input.focus();
      type(input, `${one}:`, false);
      if (!(await until(() => field.querySelector("[role=option]") ?? document.querySelector(`[id^="${input.id.replace(/-input$/, "")}-option"]`), 2000))) return false;
      input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", keyCode: 13, bubbles: true }));
    }
    return true;
  }

  async function fill() {
    const button = await until(() => document.querySelector('[data-testid="trigger-dag-button"]'));
    if (!button) return;
    button.click();
    if (!(await until(() => document.getElementById("element_volume")))) return;
    const left = [];
    for (const [name, value] of Object.entries(values)) {
      const field = document.getElementById(`element_${name}`) ?? document.querySelector(`[name="element_${name}"]`);
      if (field?.matches("input, textarea")) type(field, [value].flat().join("\n"));
      else if (!field || !(await choose(field, value))) left.push(`${name}: ${value}`);
    }
    if (left.length) alert(`Please fill in yourself:\n${left.join("\n")}`);
  }
  fill();
})();
