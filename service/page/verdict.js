// The verdict: the label, how sure it is, and what was read. It never stands beside a text that it is not the answer to.

import { element } from "./dom.js";
import { ordered, side } from "./poles.js";
import { percent, strings } from "./strings.js";

const text = strings.verdict;
const SPOKEN_MILLISECONDS = 700; // after the last answer, so that a screen reader is not talked to at every key

export class Verdict {
  #model;
  #word = element("p", { class: "word" });
  #score = element("p", { class: "score" });
  #meaning = element("p", { class: "meaning" });
  #scale = element("div", { class: "scale" });
  #facts = element("ul", { class: "facts" });
  #spoken = element("p", { class: "visually-hidden", role: "status" });
  #timer = 0;

  constructor(model) {
    this.#model = model;
    const head = element("div", { class: "head" }, this.#word, this.#score);
    this.node = element("section", { class: "card verdict" }, element("h2", {}, strings.try.verdict), head, this.#scale, this.#meaning, this.#facts, this.#spoken);
    this.empty();
  }

  /** The text has changed, and its answer is not there yet. */
  wait() {
    this.#show("waiting", text.reading);
  }

  /** There is no text. */
  empty() {
    this.#show("empty", text.empty);
    this.#meaning.replaceChildren(text.emptyHint);
  }

  /** Nothing was answered; another place says why. */
  fail() {
    this.#show("failed", "–");
  }

  /** The answer to the text in the box; times in milliseconds. */
  show(answer, roundTrip, server) {
    const { label, score, uncertain } = answer;
    this.#show(uncertain ? "uncertain" : side(this.#model.labels, label), uncertain ? text.unsure : label);
    this.#score.replaceChildren(uncertain ? "" : percent(score));
    const lines = [uncertain ? (answer.unknown_share === 1 ? text.unknownOnly : text.leaning(label, score)) : text.meaning(score)];
    if (answer.truncated) lines.push(text.truncated(this.#model.max_tokens, answer.tokens));
    this.#meaning.replaceChildren(...lines.flatMap((line, index) => (index ? [element("br"), line] : [line])));
    this.#scale.replaceChildren(this.#model.labels.length === 2 ? this.#twoLabels(answer) : this.#bars(answer));
    const facts = [text.tokens(Math.min(answer.tokens, this.#model.max_tokens)), text.unknown(answer.unknown_share), text.roundTrip(roundTrip), text.server(server)];
    this.#facts.replaceChildren(...facts.map((fact) => element("li", {}, fact)));
    this.#timer = setTimeout(() => this.#spoken.replaceChildren(text.spoken(label, score, uncertain)), SPOKEN_MILLISECONDS);
  }

  #show(state, word) {
    clearTimeout(this.#timer);
    this.node.dataset.state = state;
    this.node.setAttribute("aria-busy", String(state === "waiting"));
    this.#word.replaceChildren(word);
    if (state === "waiting" || state === "failed" || state === "empty") {
      this.#score.replaceChildren();
      this.#meaning.replaceChildren();
      this.#spoken.replaceChildren();
      if (state !== "waiting") {
        this.#facts.replaceChildren();
        this.#scale.replaceChildren();
      }
    }
  }

  /** One axis from the one label to the other, with the band in which the model is not sure. */
  #twoLabels(answer) {
    const [low, high] = ordered(this.#model.labels);
    const below = this.#model.uncertain_below;
    const share = answer.probabilities[high];
    const style = { "--share": share, "--band-start": 1 - Math.max(0.5, below), "--band-end": Math.max(0.5, below) };
    return element(
      "div",
      { class: `two ${answer.uncertain ? "" : side(this.#model.labels, answer.label)}`, style, role: "img", "aria-label": text.bar(high, share) },
      element("div", { class: "track" }, element("i", { class: "band" }), element("i", { class: "fill" }), element("i", { class: "mark" })),
      element("div", { class: "ends" }, element("span", { class: "low" }, low), element("span", { class: "between" }, text.band(below)), element("span", { class: "high" }, high)),
    );
  }

  /** A bar a label, the likeliest first. */
  #bars(answer) {
    const rows = Object.entries(answer.probabilities).sort(([, one], [, other]) => other - one);
    const bar = ([label, share]) =>
      element(
        "li",
        {},
        element("span", {}, label),
        element("span", { class: "track", style: { "--share": share, "--below": this.#model.uncertain_below } }, element("i", { class: "fill" }), element("i", { class: "threshold" })),
        element("span", { class: "number" }, percent(share)),
      );
    return element("ul", { class: "bars" }, ...rows.map(bar));
  }
}

