// What the service refused, as a sentence with its remedy.

import { element } from "./dom.js";
import { strings } from "./strings.js";

/** The sentence for an error of `api.js`. */
export function sentence(error) {
  const known = strings.problems[error.kind] ?? strings.problems[error.status] ?? strings.problems.other;
  return known({ detail: error.detail ?? "", seconds: error.retrySeconds || 1, status: error.status ?? 0 });
}

/** A place for one problem at a time; assistive technology hears of it. */
export class ProblemLine {
  #timer = 0;

  constructor() {
    this.node = element("p", { class: "problem", role: "alert", hidden: true });
  }

  /** Shows the sentence; where the service says when to come back, calls `retry` then. */
  show(error, retry) {
    this.clear();
    this.node.append(sentence(error));
    this.node.hidden = false;
    if (retry && error.retrySeconds) this.#timer = setTimeout(retry, error.retrySeconds * 1000);
  }

  clear() {
    clearTimeout(this.#timer);
    this.node.hidden = true;
    this.node.replaceChildren();
  }
}
