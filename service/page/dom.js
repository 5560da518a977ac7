// Elements made of values. Strings become text nodes: nothing that a person or the service says is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `properties` are attributes, but for `class`, `on` (listeners by event) and `style` (CSS properties). */
export function element(tag, properties = {}, ...children) {
  return build(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function drawn(tag, properties = {}, ...children) {
  return build(document.createElementNS(SVG, tag), properties, children);
}

function build(node, { class: classes, on = {}, style = {}, ...attributes }, children) {
  if (classes) node.setAttribute("class", classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, String(value));
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A card with a heading. */
export function card(heading, ...children) {
  return element("section", { class: "card" }, element("h2", {}, heading), ...children);
}

/** Calls `draw(width)` now and whenever the width of `node` changes. */
export function onWidth(node, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (node.clientWidth && node.clientWidth !== width) draw((width = node.clientWidth));
  }).observe(node);
}

/** A unique id with a readable beginning. */
let last = 0;
export const uniqueId = (name) => `${name}-${(last += 1)}`;
