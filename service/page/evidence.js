// The text, word by word, tinted by weight: colour says towards which pole, underline says it again, strength how much.
// A word that is clicked is left out, and the line below says what the answer becomes without it.

import { post } from "./api.js";
import { element } from "./dom.js";
import { Pace } from "./pace.js";
import { poles } from "./poles.js";
import { strings, weight as written } from "./strings.js";

const text = strings.evidence;
const STRONGEST = 6;
const LEAST_FULL = 0.3; // a weight below this never gets the full tint, however small the others are
const VISIBLE = 0.08; // of the full tint: less is not drawn

export class Evidence {
  #model;
  #problem;
  #onPoint;
  #read = ""; // the text that is shown
  #answer = null;
  #tokens = []; // nodes
  #values = []; // signed weights
  #poles = null;
  #hidden = new Set();
  #current = 0; // the token that the Tab key reaches
  #words = element("div", { class: "words", role: "group", dir: "auto", "aria-label": text.group });
  #tip = element("div", { class: "tip", "aria-hidden": "true", hidden: true });
  #lists = element("div", { class: "lists" });
  #legend = element("p", { class: "legend" });
  #outcome = element("p", { class: "outcome", role: "status" });
  #pace = new Pace((without, signal) => this.#ask(without, signal));

  /** `onPoint(index)` is called with the token under the pointer or the focus, or null. */
  constructor(model, problem, onPoint) {
    [this.#model, this.#problem, this.#onPoint] = [model, problem, onPoint];
    const on = {
      pointerover: (event) => this.#pointed(event.target),
      pointerleave: () => this.#pointed(null),
      focusin: (event) => this.#pointed(event.target),
      focusout: () => this.#pointed(null),
      click: (event) => this.#toggle(this.#index(event.target)),
      keydown: (event) => this.#pressed(event),
    };
    for (const [event, listener] of Object.entries(on)) this.#words.addEventListener(event, listener);
    this.node = element(
      "section",
      { class: "card evidence" },
      element("h2", {}, strings.try.evidence),
      element("div", { class: "top-line" }, this.#legend, element("p", { class: "note" }, text.hint)),
      element("div", { class: "reading" }, this.#words, this.#tip),
      this.#outcome,
      this.#lists,
      element("p", { class: "note" }, `${text.truth} ${text.keys}`),
    );
    this.node.hidden = true;
  }

  /** The text has changed, and its answer is not there yet. */
  wait() {
    this.#pace.stop();
    this.node.dataset.state = "waiting";
  }

  clear() {
    this.#pace.stop();
    this.node.hidden = true;
  }

  /** Shows `answer`, made of `read`; its offsets count UTF-16 units, as JavaScript does. */
  show(answer, read) {
    const { tokens } = answer.evidence;
    [this.#read, this.#answer, this.#current] = [read, answer, 0];
    this.#hidden.clear();
    this.#outcome.replaceChildren();
    this.#poles = poles(this.#model.labels, answer.label);
    this.#values = tokens.map((token) => this.#poles.signed(token.weight));
    const full = Math.max(LEAST_FULL, ...this.#values.map(Math.abs));
    this.#tokens = tokens.map((token, index) => this.#word(read.slice(token.start, token.end), index, full));
    this.#words.replaceChildren(...this.#withBetween(tokens));
    this.#legend.replaceChildren(
      element("span", { class: "swatch low" }, text.towards(this.#poles.low)),
      element("span", { class: "swatch high" }, text.towards(this.#poles.high)),
    );
    this.#lists.replaceChildren(this.#list(this.#poles.high, 1, full), this.#list(this.#poles.low, -1, full));
    this.#pointed(null);
    this.node.hidden = false;
    delete this.node.dataset.state;
  }

  /** Marks the token of that number, or none, as the one that another picture points at. */
  mark(index) {
    for (const token of this.#words.querySelectorAll(".marked")) token.classList.remove("marked");
    if (index !== null) this.#tokens[index]?.classList.add("marked");
  }

  #word(word, index, full) {
    const value = this.#values[index];
    const strength = Math.abs(value) / full;
    const pole = strength < VISIBLE ? "" : value > 0 ? "high" : "low";
    return element(
      "span",
      {
        class: `token ${pole}`,
        role: "button",
        tabindex: index ? -1 : 0,
        "aria-pressed": "false",
        "aria-label": text.token(word, value, this.#pole(value), false),
        "data-index": index,
        style: { "--strength": strength.toFixed(3) },
      },
      word,
    );
  }

  /** The tokens with what stands between them; what is more than white space was not read. */
  #withBetween(tokens) {
    const parts = [];
    let end = 0;
    const between = (to) => {
      const part = this.#read.slice(end, to);
      if (part) parts.push(/\S/.test(part) ? element("span", { class: "unread", title: text.unread }, part) : part);
    };
    tokens.forEach((token, index) => {
      between(token.start);
      parts.push(this.#tokens[index]);
      end = token.end;
    });
    between(this.#read.length);
    return parts;
  }

  #list(pole, sign, full) {
    const strongest = this.#values
      .map((value, index) => [value * sign, index])
      .filter(([value]) => value > full * VISIBLE)
      .sort(([one], [other]) => other - one)
      .slice(0, STRONGEST);
    const row = ([value, index]) =>
      element(
        "li",
        {},
        element("button", { type: "button", on: { click: () => this.#focus(index) } }, ...this.#inContext(index)),
        element("span", { class: "bar", style: { "--strength": (value / full).toFixed(3) } }),
        element("span", { class: "number" }, written(value * sign)),
      );
    return element(
      "div",
      { class: sign > 0 ? "high" : "low" },
      element("h3", {}, text.strongest(pole)),
      strongest.length ? element("ol", {}, ...strongest.map(row)) : element("p", { class: "note" }, text.none),
    );
  }

  /** A token; of a mark alone also the token before it. */
  #inContext(index) {
    const word = this.#tokens[index].textContent;
    const isMark = index > 0 && !/[\p{L}\p{N}]/u.test(word);
    return [isMark ? element("span", { class: "before" }, this.#tokens[index - 1].textContent) : "", word];
  }

  #pole(value) {
    return value === 0 ? text.even : text.towards(value > 0 ? this.#poles.high : this.#poles.low);
  }

  #index(target) {
    const token = target?.closest?.(".token");
    return token ? Number(token.dataset.index) : null;
  }

  #pointed(target) {
    const index = this.#index(target);
    this.#tip.hidden = index === null;
    if (index !== null) {
      const node = this.#tokens[index];
      this.#tip.replaceChildren(`${written(this.#values[index])} ${this.#pole(this.#values[index])}`);
      const space = this.#words.clientWidth - this.#tip.offsetWidth;
      this.#tip.style.setProperty("left", `${Math.max(0, Math.min(node.offsetLeft, space))}px`);
      this.#tip.style.setProperty("top", `${node.offsetTop - this.#tip.offsetHeight - 4}px`);
    }
    this.mark(index);
    this.#onPoint(index);
  }

  #focus(index) {
    this.#tokens[this.#current].tabIndex = -1;
    this.#current = index;
    this.#tokens[index].tabIndex = 0;
    this.#tokens[index].focus();
  }

  #pressed(event) {
    const last = this.#tokens.length - 1;
    const to = { ArrowRight: this.#current + 1, ArrowLeft: this.#current - 1, Home: 0, End: last }[event.key];
    if (to !== undefined) this.#focus(Math.max(0, Math.min(last, to)));
    else if (event.key === "Enter" || event.key === " ") this.#toggle(this.#index(event.target));
    else if (event.key === "Escape" && this.#hidden.size) this.#restore();
    else return;
    event.preventDefault();
  }

  #toggle(index) {
    if (index === null) return;
    if (!this.#hidden.delete(index)) this.#hidden.add(index);
    this.#current = index;
    this.#changed();
  }

  #restore() {
    this.#hidden.clear();
    this.#changed();
  }

  #changed() {
    this.#tokens.forEach((token, index) => {
      const hidden = this.#hidden.has(index);
      token.setAttribute("aria-pressed", String(hidden));
      token.setAttribute("aria-label", text.token(token.textContent, this.#values[index], this.#pole(this.#values[index]), hidden));
      token.tabIndex = index === this.#current ? 0 : -1;
    });
    this.#pace.stop();
    this.#problem.clear();
    if (!this.#hidden.size) return this.#outcome.replaceChildren();
    const without = this.#without();
    if (/\S/.test(without)) this.#pace.next(without);
    else this.#say(text.nothingLeft);
  }

  /** The text without the words that are hidden. */
  #without() {
    const parts = [];
    let end = 0;
    for (const index of [...this.#hidden].sort((one, other) => one - other)) {
      const token = this.#answer.evidence.tokens[index];
      parts.push(this.#read.slice(end, token.start));
      end = token.end;
    }
    return parts.join("") + this.#read.slice(end);
  }

  async #ask(without, signal) {
    try {
      const { answer } = await post("predict", { text: without }, signal);
      if (signal.aborted) return;
      const was = this.#answer;
      this.#say(element("strong", { class: "becomes" }, text.becomes(answer.label, answer.score)), ` ${text.instead(was.label, was.score)}`);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#outcome.replaceChildren();
      this.#problem.show(error, () => this.#changed());
    }
  }

  #say(...outcome) {
    const names = [...this.#hidden].map((index) => text.quote(this.#tokens[index].textContent));
    const shown = names.slice(0, 3).join(", ") + (names.length > 3 ? text.andMore(names.length - 3) : "");
    this.#outcome.replaceChildren(
      `${text.without(shown)}: `,
      ...outcome,
      " ",
      element("button", { type: "button", class: "quiet", on: { click: () => this.#restore() } }, text.restore),
    );
  }
}
