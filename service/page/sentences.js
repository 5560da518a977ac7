// Each sentence's own verdict, as a ribbon along the text and as a list.

import { element } from "./dom.js";
import { side } from "./poles.js";
import { percent, strings } from "./strings.js";

const text = strings.sentences;

export class Sentences {
  #model;
  #ribbon = element("div", { class: "ribbon", "aria-hidden": "true" });
  #summary = element("p", { class: "summary" });
  #list = element("ol", { "aria-label": text.list });

  constructor(model) {
    this.#model = model;
    this.node = element("section", { class: "card sentences", hidden: true }, element("h2", {}, strings.try.sentences), this.#summary, this.#ribbon, this.#list);
  }

  wait() {
    this.node.dataset.state = "waiting";
  }

  clear() {
    this.node.hidden = true;
  }

  /** Shows the sentences of `answer`, made of `read`; of too many there are none. */
  show(answer, read) {
    const sentences = answer.sentences ?? [];
    const several = sentences.length > 1;
    this.#summary.classList.toggle("mixed", Boolean(answer.mixed));
    this.#summary.replaceChildren(!answer.sentences ? text.tooMany : !several ? text.one : answer.mixed ? text.mixed : text.agree);
    this.#ribbon.replaceChildren(...(several ? sentences.map((one) => this.#part(one)) : []));
    this.#list.replaceChildren(...(several ? sentences.map((one, index) => this.#row(one, index, read)) : []));
    this.node.hidden = false;
    delete this.node.dataset.state;
  }

  #classes(one) {
    return one.uncertain ? "unsure" : side(this.#model.labels, one.label);
  }

  #part(one) {
    return element("span", { class: this.#classes(one), style: { "flex-grow": one.end - one.start, "--score": one.score } });
  }

  #row(one, index, read) {
    const verdict = element("span", { class: `chip ${this.#classes(one)}` }, one.uncertain ? text.unsure(one.label) : one.label);
    const lit = (on) => () => this.#ribbon.children[index]?.classList.toggle("lit", on);
    return element(
      "li",
      { on: { pointerenter: lit(true), pointerleave: lit(false) } },
      element("span", { class: "sentence", dir: "auto" }, read.slice(one.start, one.end)),
      verdict,
      element("span", { class: "number" }, percent(one.score)),
    );
  }
}
