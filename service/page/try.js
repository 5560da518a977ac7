// The first view: a text, and what the model makes of it while it is typed.

import { post } from "./api.js";
import { BuildUp } from "./buildup.js";
import { Calls } from "./calls.js";
import { element } from "./dom.js";
import { Evidence } from "./evidence.js";
import { Pace } from "./pace.js";
import { ProblemLine } from "./problems.js";
import { samples } from "./samples.js";
import { Sentences } from "./sentences.js";
import { strings } from "./strings.js";
import { Verdict } from "./verdict.js";

const text = strings.try;

export class Try {
  #model;
  #problem = new ProblemLine();
  #verdict;
  #evidence;
  #buildUp;
  #sentences;
  #calls = new Calls();
  #parts;
  #pace = new Pace((value, signal) => this.#ask(value, signal));
  #samples;
  #box = element("textarea", {
    id: "text",
    rows: 7,
    placeholder: text.placeholder,
    autocomplete: "off",
    spellcheck: "false",
    dir: "auto",
    "aria-describedby": "try-lead",
  });

  constructor(model) {
    this.#model = model;
    const point = (index) => (this.#evidence.mark(index), this.#buildUp.mark(index));
    this.#verdict = new Verdict(model);
    this.#evidence = new Evidence(model, this.#problem, (index) => this.#buildUp.mark(index));
    this.#buildUp = new BuildUp(model, point);
    this.#sentences = new Sentences(model);
    this.#parts = [this.#evidence, this.#buildUp, this.#sentences];
    this.#box.addEventListener("input", () => this.#changed());
    this.#samples = element(
      "div",
      { class: "samples", role: "group", "aria-label": text.samples },
      ...samples.map((sample) => element("button", { type: "button", on: { click: () => this.#take(sample) } }, sample.name)),
    );
    this.node = element(
      "div",
      { class: "view try" },
      element("header", { class: "lead" }, element("h1", {}, text.title), element("p", { id: "try-lead" }, text.lead)),
      element(
        "div",
        { class: "pair" },
        element("section", { class: "card composer" }, element("h2", {}, element("label", { for: "text" }, text.box)), this.#box, this.#samples),
        this.#verdict.node,
      ),
      this.#problem.node,
      this.#evidence.node,
      element("div", { class: "pair even" }, this.#buildUp.node, this.#sentences.node),
      this.#calls.node,
    );
    this.#take(samples[0]);
  }

  /** The text in the box. */
  get value() {
    return this.#box.value;
  }

  #take(sample) {
    this.#box.value = sample.text;
    this.#changed();
  }

  #changed() {
    this.#problem.clear();
    for (const button of this.#samples.children) {
      button.setAttribute("aria-pressed", String(samples.some((one) => one.name === button.textContent && one.text === this.value)));
    }
    if (!/\S/.test(this.value)) {
      this.#pace.stop();
      this.#verdict.empty();
      for (const part of [...this.#parts, this.#calls]) part.clear();
      return;
    }
    this.#verdict.wait();
    for (const part of this.#parts) part.wait();
    this.#pace.next(this.value);
  }

  async #ask(value, signal) {
    const asked = { text: value, ...(this.#model.evidence && { evidence: true }), sentences: true };
    try {
      const { answer, roundTrip, server } = await this.#answer(asked, signal);
      if (signal.aborted) return;
      this.#verdict.show(answer, roundTrip, server);
      this.#sentences.show(answer, value);
      if (answer.evidence) for (const part of [this.#evidence, this.#buildUp]) part.show(answer, value);
      this.#calls.show(answer.sentences ? asked : { ...asked, sentences: undefined });
    } catch (error) {
      if (signal.aborted) return;
      this.#verdict.fail();
      for (const part of [...this.#parts, this.#calls]) part.clear();
      this.#problem.show(error, () => this.#changed());
    }
  }

  /** A text of more sentences than the service judges is asked for without them. */
  async #answer(asked, signal) {
    const body = { ...asked, offsets: "utf16" };
    try {
      return await post("predict", body, signal);
    } catch (error) {
      if (error.kind !== "invalid") throw error;
      return post("predict", { ...body, sentences: false }, signal);
    }
  }
}
