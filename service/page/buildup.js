// How the answer builds up: the constant and the weights so far, word after word, as a probability.

import { frame, path } from "./chart.js";
import { drawn, element, onWidth } from "./dom.js";
import { poles } from "./poles.js";
import { percent, strings, weight } from "./strings.js";

const text = strings.buildup;
const HEIGHT = 220;
const BOTTOM = 16;
const SHARES = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99];

const logit = (share) => Math.log(share / (1 - share));
const sigmoid = (margin) => 1 / (1 + Math.exp(-margin));

export class BuildUp {
  #model;
  #onPoint;
  #sums = []; // [token + 1] margin after so many tokens, above 0 for the pole `high`
  #poles = null;
  #words = [];
  #chart = element("div", { class: "plot" });
  #caption = element("p", { class: "caption" });
  #across = null;
  #up = null;
  #cursor = null;

  /** `onPoint(index)` is called with the token under the pointer, or null. */
  constructor(model, onPoint) {
    [this.#model, this.#onPoint] = [model, onPoint];
    this.node = element("section", { class: "card buildup", hidden: true }, element("h2", {}, text.title), element("p", { class: "note" }, text.hint), this.#chart, this.#caption);
    this.#chart.addEventListener("pointermove", (event) => this.#moved(event));
    this.#chart.addEventListener("pointerleave", () => this.#onPoint(null));
    onWidth(this.#chart, () => this.#sums.length && this.#draw());
  }

  wait() {
    this.node.dataset.state = "waiting";
  }

  clear() {
    this.node.hidden = true;
  }

  /** Shows how `answer`, made of `read`, came about. */
  show(answer, read) {
    const { bias, tokens } = answer.evidence;
    this.#poles = poles(this.#model.labels, answer.label);
    this.#words = tokens.map((token) => read.slice(token.start, token.end));
    this.#sums = [this.#poles.signed(bias)];
    for (const token of tokens) this.#sums.push(this.#sums.at(-1) + this.#poles.signed(token.weight));
    this.node.hidden = false;
    delete this.node.dataset.state;
    this.#draw();
  }

  /** Moves the cursor to the token of that number, or takes it away. */
  mark(index) {
    if (!this.#cursor) return;
    this.#cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
    const last = this.#sums.length - 1;
    const at = index === null ? last : index + 1;
    this.#caption.replaceChildren(index === null ? "" : `${this.#words[index]}: `, this.#said(this.#sums[at]));
    if (index !== null) {
      this.#cursor.setAttribute("transform", `translate(${this.#across(at)} 0)`);
      this.#cursor.lastChild.setAttribute("cy", this.#up(this.#sums[at]));
    }
  }

  /** Of two labels the sum is the logarithm of their odds; of more it has no such meaning. */
  #said(sum) {
    return this.#model.labels.length === 2 ? text.at(sigmoid(sum), this.#poles.high) : `${weight(sum)} ${this.#poles.high}`;
  }

  #draw() {
    const width = this.#chart.clientWidth;
    if (!width) return;
    const least = Math.min(-logit(0.75), ...this.#sums) * 1.15;
    const most = Math.max(logit(0.75), ...this.#sums) * 1.15;
    const ticks = this.#model.labels.length === 2 ? SHARES.map((share) => [logit(share), percent(share)]) : [least, 0, most].map((sum) => [sum, weight(sum)]);
    const { node, across, up } = frame({
      width,
      height: HEIGHT,
      bottom: BOTTOM,
      x: [0, this.#sums.length - 1],
      y: [least, most],
      yTicks: ticks.filter(([sum]) => sum >= least && sum <= most),
      label: text.label(this.#said(this.#sums[0]), this.#said(this.#sums.at(-1))),
    });
    [this.#across, this.#up] = [across, up];
    const points = this.#sums.map((sum, index) => [across(index), up(sum)]);
    const area = [[across(0), up(0)], ...points, [across(this.#sums.length - 1), up(0)]];
    const halves = [["high", 0, up(0)], ["low", up(0), HEIGHT]].map(([name, from, to]) =>
      drawn("clipPath", { id: `above-${name}` }, drawn("rect", { x: 0, y: from, width, height: to - from })),
    );
    const filled = ["high", "low"].map((name) => {
      const half = path(area, `area ${name}`);
      half.setAttribute("clip-path", `url(#above-${name})`);
      return half;
    });
    const cursor = drawn("g", { class: "cursor", visibility: "hidden" }, drawn("line", { y1: 10, y2: HEIGHT - BOTTOM }), drawn("circle", { r: 4.5, cx: 0 }));
    this.#cursor = cursor;
    node.append(...halves, ...filled, drawn("line", { class: "zero", x1: across(0), x2: across(this.#sums.length - 1), y1: up(0), y2: up(0) }), path(points, "line"), cursor);
    this.#chart.replaceChildren(node);
    this.mark(null);
  }

  #moved(event) {
    const steps = this.#sums.length - 1;
    const share = (event.clientX - this.#chart.getBoundingClientRect().left - this.#across(0)) / (this.#across(steps) - this.#across(0));
    const at = Math.round(share * steps);
    this.#onPoint(at >= 1 && at <= steps ? at - 1 : null);
  }
}
