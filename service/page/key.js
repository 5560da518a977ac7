// The API key, kept in this tab alone: sessionStorage is not shared with other tabs, and is gone with this one.

import { element } from "./dom.js";
import { strings } from "./strings.js";

const NAME = "ovation-key";
const text = strings.key;

let asking = null;
let declined = false;

/** Opens the dialog again; hidden until the service has asked for a key. */
export const keyButton = element("button", { type: "button", class: "quiet", hidden: true, on: { click: change } }, text.change);

/** The headers that carry the key; none without one. */
export function keyHeaders() {
  const key = sessionStorage.getItem(NAME);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Whether there is a key. */
export const hasKey = () => sessionStorage.getItem(NAME) !== null;

/** Asks for a key, of all who want one at a time once; a person who declined is not asked again. Says whether there is one. */
export async function askKey() {
  keyButton.hidden = false;
  if (declined) return false;
  asking ??= dialog().finally(() => (asking = null));
  return asking;
}

async function change() {
  declined = false;
  if (await askKey()) location.reload();
}

function dialog() {
  const why = hasKey() ? text.refused : text.why;
  return new Promise((resolve) => {
    const field = element("input", { type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true });
    const use = (event) => {
      event.preventDefault();
      const key = field.value.trim();
      field.setCustomValidity(/^[\x21-\x7e]+$/.test(key) ? "" : text.characters); // a header takes no others
      if (!field.reportValidity()) return;
      sessionStorage.setItem(NAME, key);
      node.close("given");
    };
    const form = element(
      "form",
      { on: { submit: use, input: () => field.setCustomValidity("") } },
      element("h2", { id: "key-title" }, text.title),
      element("p", {}, why),
      element("label", { for: "key" }, text.label),
      field,
      element(
        "div",
        { class: "row" },
        element("button", { type: "submit", class: "primary" }, text.use),
        element("button", { type: "button", on: { click: () => node.close() } }, text.without),
      ),
    );
    const closed = () => {
      node.remove();
      declined = node.returnValue !== "given";
      resolve(!declined);
    };
    const node = element("dialog", { "aria-labelledby": "key-title", on: { close: closed } }, form);
    document.body.append(node);
    node.showModal();
  });
}
