// The page: its head, its views, one of which is shown, and its foot. A view is loaded when it is first opened.

import { get } from "./api.js";
import { element } from "./dom.js";
import { keyButton } from "./key.js";
import { ProblemLine } from "./problems.js";
import { strings } from "./strings.js";

const VIEWS = {
  try: async (model) => new (await import("./try.js")).Try(model),
  many: async (model) => new (await import("./many.js")).Many(model),
  model: async (model) => new (await import("./model.js")).Model(model),
  service: async (model) => new (await import("./service.js")).Service(model),
  lstm: async (model, opened) => new (await import("./lstm.js")).Lstm(model, () => opened.get("try")?.value ?? ""),
};

const opened = new Map();
const main = element("main", { id: "content", tabindex: -1 });
const links = Object.keys(VIEWS).map((name) => element("a", { href: `#${name}` }, strings.views[name]));
const problem = new ProblemLine();

document.documentElement.lang = strings.language;
document.body.append(
  element("a", { class: "skip", href: "#content", on: { click: (event) => (event.preventDefault(), main.focus()) } }, strings.skip),
  element(
    "header",
    { class: "top" },
    element("a", { class: "brand", href: "#try" }, element("img", { src: "page/icon.svg", alt: "", width: 26, height: 26 }), strings.name),
    element("nav", { "aria-label": strings.views.label }, ...links, element("a", { href: "docs" }, strings.views.docs)),
  ),
  main,
);
main.append(problem.node);

async function start() {
  let model;
  try {
    model = await get("model");
  } catch (error) {
    problem.show(error, start);
    document.body.append(element("footer", {}, keyButton));
    return;
  }
  problem.clear();
  document.body.querySelector("footer")?.remove();
  const answersBy = element("p", {}, strings.footer.model(model.model));
  document.body.append(element("footer", {}, answersBy, element("p", {}, strings.footer.privacy), keyButton));
  addEventListener("hashchange", async () => {
    // The service may have changed its model since; where it cannot say, what is known stays.
    model = await get("model").catch(() => model);
    answersBy.textContent = strings.footer.model(model.model);
    await show(model);
  });
  await show(model);
}

/** The name of the view that the address names; the first where it names none. */
const named = () => Object.keys(VIEWS).find((view) => `#${view}` === location.hash) ?? "try";

/** Opens the view that the address names. */
async function show(model) {
  const name = named();
  for (const link of links) {
    if (link.hash === `#${name}`) {
      link.setAttribute("aria-current", "page");
      link.parentNode.scrollLeft = link.offsetLeft - link.parentNode.clientWidth / 2 + link.clientWidth / 2;
    } else link.removeAttribute("aria-current");
  }
  if (!opened.has(name)) {
    const view = await VIEWS[name](model, opened);
    if (!opened.has(name)) opened.set(name, view);
    if (named() !== name) return; // the person has gone on while it was loaded
  }
  for (const [other, view] of opened) if (other !== name) view.hide?.();
  const view = opened.get(name);
  main.replaceChildren(problem.node, view.node);
  document.title = name === "try" ? strings.name : `${strings.views[name]} · ${strings.name}`;
  view.open?.();
}

import("./try.js"); // while the service is asked for the model
await start();
