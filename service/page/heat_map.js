// A picture of a matrix [token][unit]: one pixel a number, drawn large. Gates run from 0 to 1, states around 0.

import { element } from "./dom.js";
import { strings } from "./strings.js";

const text = strings.lstm;
const GATES = new Set(["input_gate", "forget_gate", "output_gate"]);
const ROW_PIXELS = 2; // height of a unit on the screen

/** The picture of `rows` with the units in `order`; `onPoint(token, row)` hears of the pointer. */
export function heatMap(name, rows, order, onPoint) {
  const [tokens, units] = [rows.length, order.length];
  const canvas = element("canvas", { width: tokens, height: units, role: "img", "aria-label": text.mapLabel(text.maps[name], units, tokens), style: { height: `${units * ROW_PIXELS}px` } });
  paint(canvas, name, rows, order);
  const cursor = element("i", { class: "cursor", style: { "--tokens": tokens, "--units": units } });
  const surface = element("div", { class: "surface" }, canvas, cursor);
  surface.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const place = (at, start, size, all) => Math.max(0, Math.min(all - 1, Math.floor(((at - start) / size) * all)));
    onPoint(place(event.clientX, box.left, box.width, tokens), place(event.clientY, box.top, box.height, units));
  });
  const [least, most] = GATES.has(name) ? text.legend.gate : text.legend.state;
  const legend = element("span", { class: `ramp ${GATES.has(name) ? "gate" : "state"}` }, least, element("i"), most);
  return {
    node: element("figure", {}, element("figcaption", {}, element("span", {}, text.maps[name]), legend), surface),
    mark: (token, row) => {
      cursor.style.setProperty("--token", token);
      cursor.style.setProperty("--row", row);
    },
  };
}

/** Colours as in the style sheet: paper to violet for gates, orange over paper to blue for states. */
function paint(canvas, name, rows, order) {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const paper = isDark ? [26, 29, 35] : [250, 249, 246];
  const [high, low, gate] = isDark ? [[134, 189, 255], [255, 171, 102], [203, 178, 255]] : [[11, 87, 164], [190, 82, 6], [76, 46, 140]];
  const most = GATES.has(name) ? 1 : Math.max(1e-6, ...rows.flat().map(Math.abs));
  const context = canvas.getContext("2d");
  const image = context.createImageData(rows.length, order.length);
  order.forEach((unit, row) => {
    rows.forEach((values, token) => {
      const share = values[unit] / most;
      const colour = GATES.has(name) ? gate : share > 0 ? high : low;
      const strength = Math.min(1, Math.abs(share));
      const mixed = paper.map((channel, index) => channel + (colour[index] - channel) * strength);
      image.data.set([...mixed, 255], 4 * (row * rows.length + token));
    });
  });
  context.putImageData(image, 0, 0);
}
