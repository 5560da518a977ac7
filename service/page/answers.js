// The answers to many texts: how they lie, and a table that can be sorted, filtered and taken away.

import { csv, download } from "./csv.js";
import { element, uniqueId } from "./dom.js";
import { ordered, side } from "./poles.js";
import { count, percent, strings } from "./strings.js";

const text = strings.many;
const PAGE_ROWS = 100;
const BINS = 20;
const EXCERPT = 400; // characters of a text in the table

export class Answers {
  #model;
  #names = null;
  #rows = [];
  #column = 0;
  #results = [];
  #order = []; // numbers of the rows that are shown
  #shown = PAGE_ROWS;
  #descending = true;
  #filter = { label: "", uncertain: false };
  #histogram = element("div", { class: "histogram" });
  #body = element("tbody");
  #count = element("p", { class: "note", role: "status" });
  #more = element("button", { type: "button", on: { click: () => this.#grow() } });
  #sortHead;
  #sort = element("button", { type: "button", class: "sort", on: { click: () => this.#turn() } });

  constructor(model) {
    this.#model = model;
    const select = uniqueId("label");
    const labels = element("select", { id: select, on: { change: () => this.#filtered({ label: labels.value }) } }, element("option", { value: "" }, text.all), ...model.labels.map((label) => element("option", { value: label }, label)));
    const unsure = element("input", { type: "checkbox", on: { change: () => this.#filtered({ uncertain: unsure.checked }) } });
    this.#sortHead = element("th", { scope: "col", class: "number", "aria-sort": "descending" }, this.#sort);
    const head = element("tr", {}, element("th", { scope: "col" }, text.row), element("th", { scope: "col" }, text.text), element("th", { scope: "col" }, text.label), this.#sortHead);
    this.#sort.append(this.#probability);
    this.node = element(
      "section",
      { class: "card answers", hidden: true },
      element("h2", {}, text.distribution),
      this.#histogram,
      element(
        "div",
        { class: "row" },
        element("label", { for: select }, text.filter),
        labels,
        element("label", { class: "row" }, unsure, text.uncertainOnly),
        element("button", { type: "button", class: "download", on: { click: () => this.#download() } }, text.download),
      ),
      element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": text.table }, element("table", {}, element("thead", {}, head), this.#body)),
      element("div", { class: "row" }, this.#count, this.#more),
    );
  }

  clear() {
    this.node.hidden = true;
  }

  /** Shows `results` [row]: an answer, `{problem}`, or null where the work was cancelled before. */
  show(names, rows, column, results) {
    [this.#names, this.#rows, this.#column, this.#results] = [names, rows, column, results];
    this.#draw();
    this.#arrange();
    this.node.hidden = false;
  }

  /** Of two labels the table is sorted by the probability of one of them; of more, by the score. */
  get #high() {
    return this.#model.labels.length === 2 ? ordered(this.#model.labels)[1] : null;
  }

  get #probability() {
    return this.#high === null ? text.certainty : text.probability(this.#high);
  }

  #value(result) {
    return this.#high === null ? result.score : result.probabilities[this.#high];
  }

  #filtered(change) {
    Object.assign(this.#filter, change);
    this.#arrange();
  }

  #turn() {
    this.#descending = !this.#descending;
    this.#arrange();
  }

  #grow() {
    this.#shown += PAGE_ROWS;
    this.#fill();
  }

  /** Chooses and sorts the rows; those without an answer come last. */
  #arrange() {
    const { label, uncertain } = this.#filter;
    const passes = (result) => (!label || result.label === label) && (!uncertain || result.uncertain);
    const sign = this.#descending ? -1 : 1;
    const value = (index) => (this.#results[index].problem ? Infinity : sign * this.#value(this.#results[index]));
    this.#order = [...this.#results.keys()].filter((index) => this.#results[index] && passes(this.#results[index]));
    const keys = new Map(this.#order.map((index) => [index, value(index)]));
    this.#order.sort((one, other) => keys.get(one) - keys.get(other) || one - other);
    this.#sortHead.setAttribute("aria-sort", this.#descending ? "descending" : "ascending");
    this.#shown = PAGE_ROWS;
    this.#fill();
  }

  #fill() {
    const shown = this.#order.slice(0, this.#shown);
    this.#body.replaceChildren(...shown.map((index) => this.#row(index)));
    const left = this.#order.length - shown.length;
    this.#count.replaceChildren(text.shown(shown.length, this.#order.length));
    this.#more.hidden = left === 0;
    this.#more.replaceChildren(text.more(Math.min(PAGE_ROWS, left)));
  }

  #row(index) {
    const result = this.#results[index];
    const whole = this.#rows[index][this.#column] ?? "";
    const excerpt = whole.length > EXCERPT ? `${whole.slice(0, EXCERPT)} …` : whole;
    const cells = result.problem
      ? [element("td", { colspan: 2, class: "failed" }, result.problem)]
      : [
          element("td", {}, element("span", { class: `chip ${result.uncertain ? "unsure" : side(this.#model.labels, result.label)}` }, result.label), result.uncertain ? element("span", { class: "visually-hidden" }, ` ${text.unsure}`) : ""),
          element("td", { class: "number" }, percent(this.#value(result))),
        ];
    return element("tr", {}, element("td", { class: "number" }, count(index + 1)), element("td", { class: "text", dir: "auto" }, excerpt), ...cells);
  }

  #draw() {
    const bins = new Array(BINS).fill(0);
    for (const result of this.#results) if (result && !result.problem) bins[Math.min(BINS - 1, Math.floor(this.#value(result) * BINS))] += 1;
    const most = Math.max(1, ...bins);
    const below = this.#model.uncertain_below;
    const bar = (number, index) => {
      const middle = (index + 0.5) / BINS;
      const unsure = Math.max(middle, this.#high === null ? middle : 1 - middle) < below;
      const classes = !number ? "none" : unsure ? "unsure" : this.#high !== null && middle < 0.5 ? "low" : "high";
      return element("li", { class: classes, style: { "--height": number / most }, title: text.bin(index / BINS, (index + 1) / BINS, number) }, element("span", { class: "visually-hidden" }, text.bin(index / BINS, (index + 1) / BINS, number)));
    };
    const ends = element("div", { class: "ends", "aria-hidden": "true" }, element("span", {}, percent(0)), element("span", {}, this.#probability), element("span", {}, percent(1)));
    this.#histogram.replaceChildren(element("ol", { "aria-label": this.#high === null ? text.certainty : text.bars(this.#high) }, ...bins.map(bar)), ends);
  }

  #download() {
    const width = Math.max(...this.#rows.map((row) => row.length), this.#names?.length ?? 0);
    const names = Array.from({ length: width }, (_, column) => this.#names?.[column] || text.columnName(column + 1));
    const judged = this.#order.map((index) => {
      const result = this.#results[index];
      const row = Array.from({ length: width }, (_, column) => this.#rows[index][column] ?? "");
      const answer = result.problem ? ["", "", "", ...this.#model.labels.map(() => ""), result.problem] : [result.label, result.score, result.uncertain, ...this.#model.labels.map((label) => result.probabilities[label]), ""];
      return [...row, ...answer];
    });
    download("ovation.csv", csv([[...names, "label", "score", "uncertain", ...this.#model.labels, "problem"], ...judged]));
  }
}
