// The equations of `service/model/cell.py`, each with the numbers of one unit at one token where there are some.

import { element } from "./dom.js";
import { decimal, strings } from "./strings.js";

const text = strings.lstm;

const v = (name, below) => element("var", {}, name, below ? element("sub", {}, below) : "");

/** What computes each row, in symbols; the functions make new nodes each time. */
const SYMBOLS = {
  input_gate: () => gate("i", "σ", "i"),
  forget_gate: () => gate("f", "σ", "f"),
  output_gate: () => gate("o", "σ", "o"),
  candidate: () => gate("c̃", "tanh", "c"),
  cell: () => [v("c", "t"), " = ", v("f", "t"), " · ", v("c", "t−1"), " + ", v("i", "t"), " · ", v("c̃", "t")],
  hidden: () => [v("h", "t"), " = ", v("o", "t"), " · tanh ", v("c", "t")],
};

function gate(name, squash, parameters) {
  return [v(name, "t"), ` = ${squash}(`, v("W", parameters), v("x", "t"), " + ", v("R", parameters), v("h", "t−1"), " + ", v("b", parameters), ")"];
}

/** The right-hand side in numbers; the gates' own sums are not shown. */
function inNumbers(name, numbers) {
  const n = Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, value < 0 ? `(${decimal(value)})` : decimal(value)]));
  if (name === "cell") return `${n.forget_gate} · ${n.before} + ${n.input_gate} · ${n.candidate} = ${decimal(numbers.cell)}`;
  if (name === "hidden") return `${n.output_gate} · tanh ${n.cell} = ${decimal(numbers.hidden)}`;
  return decimal(numbers[name]);
}

/** A table of all six; `numbers` by name, and the memory `before`, or null. */
export function equations(numbers) {
  const row = ([name, meaning]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, text.maps[name]),
      element("td", { class: "formula" }, ...SYMBOLS[name]()),
      element("td", { class: "value" }, numbers ? inNumbers(name, numbers) : ""),
      element("td", { class: "note" }, meaning),
    );
  return element("table", {}, element("tbody", {}, ...text.rows.map(row)));
}
