// How an LSTM works: its gates and its memory along a text, and the equations with the numbers of one cell.

import { post } from "./api.js";
import { card, element, uniqueId } from "./dom.js";
import { equations } from "./equations.js";
import { heatMap } from "./heat_map.js";
import { Pace } from "./pace.js";
import { ProblemLine } from "./problems.js";
import { samples } from "./samples.js";
import { strings } from "./strings.js";

const text = strings.lstm;
const MAPS = ["input_gate", "forget_gate", "output_gate", "candidate", "cell", "hidden"];

export class Lstm {
  #offered;
  #last = null;
  #found = null;
  #asked = "";
  #order = []; // [row of the picture] unit
  #token = 0;
  #row = 0;
  #maps = [];
  #problem = new ProblemLine();
  #pace = new Pace((value, signal) => this.#ask(value, signal));
  #box = element("textarea", { id: "lstm-text", rows: 3, autocomplete: "off", spellcheck: "false", on: { input: () => this.#changed() } });
  #words = element("p", { class: "words along", "aria-hidden": "true" });
  #pictures = element("div", { class: "maps" });
  #note = element("p", { class: "note" });
  #equations = element("div", { class: "equations" });
  #here = element("p", { class: "note", role: "status" });
  #direction = "forward";
  #tokenSlider;
  #unitSlider;

  /** `offered()` gives the text that the first view has in its box. */
  constructor(model, offered) {
    this.#offered = offered;
    this.#tokenSlider = this.#slider(text.token, (value) => this.#point(value, this.#row));
    this.#unitSlider = this.#slider(text.unit, (value) => this.#point(this.#token, value));
    const group = uniqueId("direction");
    const choice = (direction) =>
      element("label", {}, element("input", { type: "radio", name: group, value: direction, checked: direction === this.#direction, on: { change: () => ((this.#direction = direction), this.#changed()) } }), text[direction]);
    const served = [
      element("section", { class: "card composer" }, element("h2", {}, element("label", { for: "lstm-text" }, text.text)), this.#box, element("fieldset", { class: "choice" }, element("legend", { class: "visually-hidden" }, text.direction), ...["forward", "backward"].map(choice))),
      this.#problem.node,
      card(text.picture, element("p", { class: "note" }, text.pictureHint), this.#words, this.#pictures, element("div", { class: "sliders" }, ...this.#tokenSlider.nodes, ...this.#unitSlider.nodes), this.#note),
    ];
    this.node = element(
      "div",
      { class: "view lstm" },
      element("header", { class: "lead" }, element("h1", {}, text.title), element("p", {}, text.lead)),
      ...(model.inspect ? served : [element("p", { class: "card" }, text.off)]),
      card(text.equations, this.#here, this.#equations, element("p", {}, text.afterwards), element("p", { class: "note" }, text.code)),
    );
    this.#equations.replaceChildren(equations(null));
    this.#words.addEventListener("pointerover", (event) => event.target.dataset.index && this.#point(Number(event.target.dataset.index), this.#row));
    if (!model.inspect) this.open = undefined;
  }

  /** Takes over the text of the first view, where that has changed since. */
  open() {
    const offered = this.#offered();
    const value = /\S/.test(offered) ? offered : samples[0].text;
    if (value === this.#last) return;
    this.#last = value;
    this.#box.value = value;
    this.#changed();
  }

  #slider(name, moved) {
    const id = uniqueId("slider");
    const input = element("input", { type: "range", id, min: 0, max: 0, value: 0, on: { input: () => moved(Number(input.value)) } });
    const output = element("output", { for: id });
    return { input, output, nodes: [element("label", { for: id }, name), input, output] };
  }

  #changed() {
    this.#problem.clear();
    if (/\S/.test(this.#box.value)) this.#pace.next(this.#box.value);
    else this.#pace.stop();
  }

  async #ask(value, signal) {
    try {
      const { answer } = await post("inspect", { text: value, direction: this.#direction, offsets: "utf16" }, signal);
      if (signal.aborted) return;
      [this.#found, this.#asked] = [answer, value];
      this.#show();
    } catch (error) {
      if (!signal.aborted) this.#problem.show(error, () => this.#changed());
    }
  }

  #show() {
    const { tokens, cell, read } = this.#found;
    this.#order = byPeak(cell);
    this.#maps = MAPS.map((name) => heatMap(name, this.#found[name], this.#order, (token, row) => this.#point(token, row)));
    this.#pictures.replaceChildren(...this.#maps.map((map) => map.node));
    this.#words.replaceChildren(...tokens.flatMap((token, index) => [element("span", { "data-index": index }, this.#asked.slice(token.start, token.end)), " "]));
    const notes = [read > tokens.length ? text.cut(tokens.length, read) : ""];
    this.#note.replaceChildren(notes.filter(Boolean).join(" "));
    this.#tokenSlider.input.max = tokens.length - 1;
    this.#unitSlider.input.max = this.#order.length - 1;
    this.#point(...strongest(cell, this.#order));
  }

  /** Shows the cell of that token in that row of the picture. */
  #point(token, row) {
    [this.#token, this.#row] = [token, row];
    const { tokens } = this.#found;
    const unit = this.#order[row];
    const word = this.#asked.slice(tokens[token].start, tokens[token].end);
    for (const map of this.#maps) map.mark(token, row);
    for (const [index, node] of [...this.#words.children].entries()) node.classList.toggle("marked", index === token);
    this.#tokenSlider.input.value = token;
    this.#tokenSlider.output.replaceChildren(word);
    this.#tokenSlider.input.setAttribute("aria-valuetext", word);
    this.#unitSlider.input.value = row;
    this.#unitSlider.output.replaceChildren(text.unitName(unit + 1, this.#order.length));
    this.#unitSlider.input.setAttribute("aria-valuetext", text.unitName(unit + 1, this.#order.length));
    this.#here.replaceChildren(text.here(word, unit + 1));
    const before = token + (this.#direction === "forward" ? -1 : 1);
    const numbers = Object.fromEntries(MAPS.map((name) => [name, this.#found[name][token][unit]]));
    this.#equations.replaceChildren(equations({ ...numbers, before: this.#found.cell[before]?.[unit] ?? 0 }));
  }
}

/** The token and the row of the picture with the largest memory. */
function strongest(cell, order) {
  let [token, row] = [0, 0];
  cell.forEach((values, at) => order.forEach((unit, other) => {
    if (Math.abs(values[unit]) > Math.abs(cell[token][order[row]])) [token, row] = [at, other];
  }));
  return [token, row];
}

/** The units in the order of the tokens at which their memory is largest: what reacts to the same words stands together. */
function byPeak(cell) {
  const peak = (unit) => cell.reduce((best, row, token) => (Math.abs(row[unit]) > Math.abs(cell[best][unit]) ? token : best), 0);
  const peaks = cell[0].map((_, unit) => peak(unit));
  return [...peaks.keys()].sort((one, other) => peaks[one] - peaks[other] || one - other);
}
