// Small charts in SVG: axes, lines, points. Text is drawn at its own size, since a chart is made for the width it has.

import { drawn } from "./dom.js";

const MARGIN = { top: 10, right: 12, left: 46 };

/** A linear scale from `domain` to `range`. */
export const scale = ([from, to], [start, end]) => (value) => start + ((value - from) / (to - from || 1)) * (end - start);

/** A frame with ticks `[value, text]` along both axes; gives the node and the scales. */
export function frame({ width, height, x, y, xTicks = [], yTicks = [], xName = "", bottom = 34, label }) {
  const across = scale(x, [MARGIN.left, width - MARGIN.right]);
  const up = scale(y, [height - bottom, MARGIN.top]);
  const node = drawn("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  for (const [value, text] of yTicks) {
    node.append(
      drawn("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: up(value), y2: up(value) }),
      drawn("text", { x: MARGIN.left - 8, y: up(value) + 4, "text-anchor": "end" }, text),
    );
  }
  for (const [value, text] of xTicks) {
    node.append(drawn("text", { x: across(value), y: height - bottom + 18, "text-anchor": "middle" }, text));
  }
  if (xName) {
    node.append(drawn("text", { class: "name", x: width - MARGIN.right, y: height - 3, "text-anchor": "end" }, xName));
  }
  return { node, across, up };
}

/** The path through points `[x, y]`. */
export function path(points, classes) {
  const d = points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  return drawn("path", { class: classes, d });
}

/** A line of recent values without axes, the newest at the right, as wide as its place. */
export function sparkline(values, width = 240, height = 48) {
  const across = scale([0, Math.max(1, values.length - 1)], [1, width - 1]);
  const up = scale([0, Math.max(...values, 1e-9)], [height - 2, 4]);
  const points = values.map((value, index) => [across(index), up(value)]);
  const area = [[1, height], ...points, [width - 1, height]];
  const shape = { class: "sparkline", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  return drawn("svg", shape, path(area, "area"), path(points, "line"));
}
