// The calls that give the answer on the screen, to copy.

import { address } from "./api.js";
import { element, uniqueId } from "./dom.js";
import { hasKey } from "./key.js";
import { strings } from "./strings.js";

const text = strings.calls;
const COPIED_MILLISECONDS = 1600;

/** `body` for a POSIX shell. */
export function curl(body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const key = hasKey() ? ` \\\n     -H "Authorization: Bearer $OVATION_API_KEY"` : "";
  return `curl '${address("predict")}' -H 'Content-Type: application/json'${key} \\\n     -d '${quoted}'`;
}

/** `body` for Python's standard library. A string of JSON is one of Python, too. */
export function python(body) {
  const fields = Object.entries(body).map(([name, value]) => `${JSON.stringify(name)}: ${value === true ? "True" : JSON.stringify(value)}`);
  const headers = `"Content-Type": "application/json"${hasKey() ? `, "Authorization": "Bearer " + os.environ["OVATION_API_KEY"]` : ""}`;
  return [
    "import json",
    ...(hasKey() ? ["import os"] : []),
    "import urllib.request",
    "",
    `body = {${fields.join(", ")}}`,
    "request = urllib.request.Request(",
    `    ${JSON.stringify(address("predict"))},`,
    "    json.dumps(body).encode(),",
    `    {${headers}},`,
    ")",
    "print(json.load(urllib.request.urlopen(request)))",
  ].join("\n");
}

const WRITTEN = { curl, python };

export class Calls {
  #body = {};
  #language = "curl";
  #code = element("code");
  #copy = element("button", { type: "button", class: "copy", on: { click: () => this.#copied() } }, text.copy);

  constructor() {
    const group = uniqueId("language");
    const choice = (name) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name: group, value: name, checked: name === this.#language, on: { change: () => this.#write(name) } }),
        text[name],
      );
    this.node = element(
      "section",
      { class: "card calls", hidden: true },
      element("h2", {}, strings.try.calls),
      element("div", { class: "row" }, element("fieldset", { class: "choice" }, element("legend", { class: "visually-hidden" }, text.tabs), ...Object.keys(WRITTEN).map(choice)), this.#copy),
      element("pre", { tabindex: 0, role: "region", "aria-label": strings.try.calls }, this.#code),
    );
  }

  /** The body that was answered. */
  show(body) {
    this.#body = body;
    this.#write(this.#language);
    this.node.hidden = false;
  }

  clear() {
    this.node.hidden = true;
  }

  #write(language) {
    this.#language = language;
    this.#code.replaceChildren(WRITTEN[language](this.#body));
  }

  async #copied() {
    let said = text.copied;
    try {
      await navigator.clipboard.writeText(this.#code.textContent);
    } catch {
      // Without TLS a browser gives pages no clipboard: the person copies what is selected.
      getSelection().selectAllChildren(this.#code);
      said = text.select;
    }
    this.#copy.replaceChildren(said);
    setTimeout(() => this.#copy.replaceChildren(text.copy), COPIED_MILLISECONDS);
  }
}
