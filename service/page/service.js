// The service while it works: what /health/ready and /metrics tell, every two seconds while this view is open.

import { get, getText } from "./api.js";
import { sparkline } from "./chart.js";
import { card, element } from "./dom.js";
import { ProblemLine } from "./problems.js";
import { buckets, parse, quantile, total } from "./prometheus.js";
import { count, strings } from "./strings.js";

const text = strings.service;
const SECONDS = 2;
const KEPT = 61; // readings, two minutes
const WINDOW = 30; // readings for the latency, one minute
const TILES = ["rate", "median", "slow", "queue", "refused", "connections"];
const ofTexts = (labels) => labels.protocol !== "none";
const isRefused = (labels) => ofTexts(labels) && labels.status === "429";

export class Service {
  #readings = [];
  #timer = 0;
  #controller = null;
  #problem = new ProblemLine();
  #ready = element("p", { class: "ready", role: "status" }, text.unknown);
  #tiles = {};
  #answers = element("tbody");
  #texts = element("p", { class: "note" });

  constructor(model) {
    for (const name of TILES) this.#tiles[name] = { value: element("p", { class: "value" }, text.quiet), line: element("div", { class: "spark" }) };
    const tile = (name) => element("div", { class: "tile" }, element("h2", {}, text[name]), this.#tiles[name].value, this.#tiles[name].line);
    const head = element("tr", {}, ...[text.protocol, text.status].map((name) => element("th", { scope: "col" }, name)), element("th", { scope: "col", class: "number" }, text.number));
    this.node = element(
      "div",
      { class: "view service" },
      element("header", { class: "lead" }, element("h1", {}, text.title), element("p", {}, text.lead)),
      element("div", { class: "row now" }, this.#ready, element("p", { class: "note" }, `${model.model}, ${model.provider}`), this.#texts),
      this.#problem.node,
      element("section", { class: "tiles" }, ...TILES.map(tile)),
      element("p", { class: "note" }, text.windowNote),
      card(text.byStatus, element("div", { class: "scroll" }, element("table", { class: "narrow" }, element("thead", {}, head), this.#answers))),
    );
  }

  open() {
    this.hide();
    this.#controller = new AbortController();
    this.#look(this.#controller.signal);
  }

  hide() {
    clearTimeout(this.#timer);
    this.#controller?.abort();
  }

  async #look(signal) {
    await this.#probe(signal);
    try {
      this.#read(parse(await getText("metrics", signal)));
      this.#problem.clear();
    } catch (error) {
      if (signal.aborted) return;
      this.#problem.show(error);
    }
    if (!signal.aborted) this.#timer = setTimeout(() => this.#look(signal), SECONDS * 1000);
  }

  async #probe(signal) {
    let ready = true;
    try {
      await get("health/ready", signal);
    } catch (error) {
      if (signal.aborted) return;
      ready = false;
    }
    this.#ready.dataset.ready = ready;
    const said = ready ? text.ready : text.notReady;
    if (this.#ready.textContent !== said) this.#ready.replaceChildren(said); // else it would be spoken each time
  }

  #read(samples) {
    this.#readings.push({
      at: performance.now() / 1000,
      requests: total(samples, "ovation_requests_total", ofTexts),
      refused: total(samples, "ovation_requests_total", isRefused),
      waiting: total(samples, "ovation_waiting_texts"),
      connections: total(samples, "ovation_connections"),
      latency: buckets(samples, "ovation_request_seconds", ofTexts),
    });
    if (this.#readings.length > KEPT) this.#readings.shift();
    this.#texts.replaceChildren(text.texts(total(samples, "ovation_predictions_total")));
    this.#draw();
    this.#list(samples.get("ovation_requests_total") ?? []);
  }

  #draw() {
    const all = this.#readings;
    const perSecond = (name) => all.slice(1).map((reading, index) => Math.max(0, reading[name] - all[index][name]) / (reading.at - all[index].at));
    const within = (share) => all.slice(1).map((reading, index) => quantile(all[Math.max(0, index + 1 - WINDOW)].latency, reading.latency, share));
    const rates = { rate: perSecond("requests"), refused: perSecond("refused") };
    const latencies = { median: within(0.5), slow: within(0.99) };
    const levels = { queue: all.map((reading) => reading.waiting), connections: all.map((reading) => reading.connections) };
    for (const [name, values] of Object.entries(rates)) this.#tile(name, values, text.perSecond);
    for (const [name, values] of Object.entries(latencies)) this.#tile(name, values, text.latency);
    for (const [name, values] of Object.entries(levels)) this.#tile(name, values, count);
  }

  #tile(name, values, written) {
    const last = values.at(-1);
    this.#tiles[name].value.replaceChildren(last === null || last === undefined ? text.quiet : written(last));
    if (values.length > 1) this.#tiles[name].line.replaceChildren(sparkline(values.map((value) => value ?? 0)));
  }

  #list(requests) {
    const rows = requests.filter(({ labels, value }) => ofTexts(labels) && value > 0);
    const sums = new Map();
    for (const { labels, value } of rows) {
      const key = `${labels.protocol} ${labels.status}`;
      sums.set(key, (sums.get(key) ?? 0) + value);
    }
    const row = ([key, value]) => element("tr", {}, ...key.split(" ").map((cell) => element("td", {}, cell)), element("td", { class: "number" }, count(value)));
    const none = element("tr", {}, element("td", { colspan: 3 }, text.noRequests));
    this.#answers.replaceChildren(...(sums.size ? [...sums].sort().map(row) : [none]));
  }
}
