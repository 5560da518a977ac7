// The model card as the manifest's `metrics` tell it: what is there is drawn, what is not is passed over.

import { frame, path } from "./chart.js";
import { card, drawn, element, onWidth } from "./dom.js";
import { count, exactly, percent, strings } from "./strings.js";

const text = strings.model;
const SPLITS = ["test", "validation"]; // the first that is there is drawn
const GROUPS = ["by_source", "by_length", "by_rating"];
const NAMES = { by_source: text.source, by_rating: text.rating };
const Z = 1.96; // of a 95 % interval
const LEAST_TEXTS = 30; // a group with fewer is not called the weakest

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isPoints = (value, size) => Array.isArray(value) && value.length > 1 && value.every((point) => Array.isArray(point) && point.length >= size && point.every(isNumber));

/** Wilson's interval for a share among `number` texts. */
export function interval(share, number) {
  const middle = (share + (Z * Z) / (2 * number)) / (1 + (Z * Z) / number);
  const half = (Z / (1 + (Z * Z) / number)) * Math.sqrt((share * (1 - share)) / number + (Z * Z) / (4 * number * number));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

/** Rows `{name, texts, accuracy, interval, note}` of a table of the manifest; entries without an accuracy are left out. */
function rowsOf(table, rename = (name) => name) {
  if (!isRecord(table)) return [];
  return Object.entries(table).flatMap(([name, entry]) => {
    if (!isRecord(entry) || !isNumber(entry.accuracy)) return [];
    const texts = entry.texts ?? entry.reviews;
    const told = entry.interval ?? entry.accuracy_interval_95;
    const bounds = Array.isArray(told) && told.every(isNumber) && told.length === 2 ? told : isNumber(texts) && texts > 0 ? interval(entry.accuracy, texts) : null;
    const note = text.more(...[entry.unflagged?.share, entry.unflagged?.accuracy, entry.expected_calibration_error].map((value) => (isNumber(value) ? value : undefined)));
    return [{ name: rename(name), texts, accuracy: entry.accuracy, bounds, note }];
  });
}

export class Model {
  constructor(model) {
    const metrics = isRecord(model.metrics) ? model.metrics : {};
    const splitName = SPLITS.find((name) => isRecord(metrics[name]));
    const split = splitName ? metrics[splitName] : {};
    const groups = GROUPS.map((name) => [name, rowsOf(split[name], NAMES[name])]).filter(([, rows]) => rows.length);
    const curves = [reliability(split), coverage(split)].filter(Boolean);
    this.node = element(
      "div",
      { class: "view model" },
      element("header", { class: "lead" }, element("h1", {}, text.title), element("p", {}, text.lead)),
      headline(split, splitName),
      groups.length ? card(text.accuracy, ...groups.map(([name, rows]) => dots(text.groups[name], rows)), element("p", { class: "note" }, text.note)) : null,
      curves.length ? element("div", { class: "pair even" }, ...curves) : null,
      element("div", { class: "pair even" }, facts(model), limits(model, groups)),
    );
  }
}

function headline(split, splitName) {
  const said = text.headline;
  const figures = [];
  const add = (value, name, ...notes) => figures.push(element("div", { class: "figure" }, element("p", { class: "value" }, value), element("p", { class: "name" }, name), ...notes.map((note) => element("p", { class: "note" }, note))));
  if (isNumber(split.accuracy)) {
    const bounds = split.accuracy_interval_95;
    add(exactly(split.accuracy), said.accuracy, said.of(split.texts ?? split.reviews ?? 0, text.splits[splitName]), ...(isPoints([bounds, bounds], 2) ? [said.interval(...bounds)] : []));
  }
  if (isNumber(split.expected_calibration_error)) add(exactly(split.expected_calibration_error), said.calibration, said.calibrationNote);
  if (isNumber(split.unflagged?.share)) add(exactly(split.unflagged.share), said.unflagged, ...(isNumber(split.unflagged.accuracy) ? [said.unflaggedNote(split.unflagged.accuracy)] : []));
  return figures.length ? element("section", { class: "card figures" }, ...figures) : element("p", { class: "card" }, text.none);
}

/** Accuracies with their intervals, as a table whose third column is the picture. */
function dots(name, rows) {
  const least = Math.min(...rows.map((row) => row.bounds?.[0] ?? row.accuracy));
  const from = Math.floor(Math.max(0, least - 0.02) * 20) / 20;
  const place = (share) => (share - from) / (1 - from);
  const line = ({ name: label, texts, accuracy, bounds, note }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, label),
      element("td", { class: "number" }, exactly(accuracy)),
      element(
        "td",
        { class: "track", "aria-hidden": "true" },
        element("span", { class: "dots", style: { "--at": place(accuracy), "--from": place(bounds?.[0] ?? accuracy), "--to": place(bounds?.[1] ?? accuracy) } }, element("i"), element("b")),
      ),
      element("td", { class: "number" }, isNumber(texts) ? count(texts) : "", note && element("span", { class: "note" }, note)),
    );
  const [share, number] = text.columns;
  const head = element("tr", {}, element("th", { scope: "col" }, name), element("th", { scope: "col", class: "number share" }, share), element("td", { class: "axis", "aria-hidden": "true" }, element("span", {}, percent(from)), element("span", {}, percent(1))), element("th", { scope: "col", class: "number" }, number));
  return element("div", { class: "scroll" }, element("table", { class: "accuracies" }, element("thead", {}, head), element("tbody", {}, ...rows.map(line))));
}

function plotted(heading, note, draw) {
  const place = element("div", { class: "plot" });
  onWidth(place, (width) => place.replaceChildren(draw(Math.min(width, 520))));
  return card(heading, place, element("p", { class: "note" }, note));
}

const shares = (from) => [0, 1, 2, 3, 4].map((step) => from + ((1 - from) * step) / 4).map((share) => [share, percent(share)]);

function reliability(split) {
  const points = split.reliability;
  if (!isPoints(points, 3)) return null;
  const from = Math.floor(Math.min(...points.flatMap(([, score, right]) => [score, right])) * 10) / 10;
  return plotted(text.reliability, text.reliabilityNote, (width) => {
    const { node, across, up } = frame({ width, height: 300, x: [from, 1], y: [from, 1], xTicks: shares(from), yTicks: shares(from), xName: text.score, label: text.reliabilityLabel });
    node.append(
      drawn("line", { class: "diagonal", x1: across(from), y1: up(from), x2: across(1), y2: up(1) }),
      ...points.map(([texts, score, right]) => drawn("circle", { class: "dot", cx: across(score), cy: up(right), r: 4.5 }, drawn("title", {}, `${exactly(score)}: ${exactly(right)} (${count(texts)})`))),
    );
    return node;
  });
}

function coverage(split) {
  const points = split.coverage;
  if (!isPoints(points, 2)) return null;
  const from = Math.floor(Math.min(...points.map(([, right]) => right)) * 20) / 20;
  return plotted(text.coverage, text.coverageNote, (width) => {
    const { node, across, up } = frame({ width, height: 300, x: [0, 1], y: [from, 1], xTicks: shares(0), yTicks: shares(from), xName: text.answered, label: text.coverageLabel });
    node.append(path(points.map(([share, right]) => [across(share), up(right)]), "line"));
    const mark = split.unflagged;
    if (isNumber(mark?.share) && isNumber(mark.accuracy)) node.append(drawn("circle", { class: "threshold", cx: across(mark.share), cy: up(mark.accuracy), r: 5 }));
    return node;
  });
}

function facts(model) {
  const rows = {
    model: model.model,
    created: model.created.slice(0, 10),
    labels: model.labels.join(", "),
    reads: text.reads(model.max_tokens, model.truncation),
    rules: model.rules,
    flagged: exactly(model.uncertain_below),
    provider: model.provider,
    exactness: model.exactness,
  };
  return card(text.facts, element("dl", {}, ...Object.entries(rows).flatMap(([name, value]) => [element("dt", {}, text.fields[name]), element("dd", {}, value)])));
}

function limits(model, groups) {
  const { known } = text;
  const all = groups.flatMap(([name, rows]) => rows.map((row) => ({ ...row, said: text.textsOf[name](row.name) })));
  const weakest = all.filter(({ texts }) => !isNumber(texts) || texts >= LEAST_TEXTS).sort((one, other) => one.accuracy - other.accuracy)[0];
  const items = [weakest && known.weakest(weakest.said, weakest.accuracy), known.cut(model.max_tokens), known.language, known.irony, known.weights, known.people];
  return card(text.limits, element("ul", { class: "list" }, ...items.filter(Boolean).map((item) => element("li", {}, item))));
}
