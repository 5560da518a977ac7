// Many texts at once: a file or pasted rows, judged in slices, as a table and a histogram.

import { stream } from "./api.js";
import { Answers } from "./answers.js";
import { element, uniqueId } from "./dom.js";
import { ProblemLine, sentence } from "./problems.js";
import { samples } from "./samples.js";
import { strings } from "./strings.js";
import { Unreadable, parse, readFile, textColumn } from "./table.js";

const text = strings.many;
const MOST_ROWS = 5000;
const SLICE_ROWS = 500;
const SLICE_CHARACTERS = 2 ** 20;
const PREVIEW_ROWS = 3;
const BUSY = new Set(["overloaded", "not_ready"]);

export class Many {
  #model;
  #table = null; // {format, names, rows}
  #controller = null;
  #problem = new ProblemLine();
  #paste = element("textarea", { id: "paste", rows: 5, placeholder: text.pastePlaceholder, spellcheck: "false", autocomplete: "off" });
  #rows = element("section", { class: "card rows", hidden: true });
  #work = element("section", { class: "card work", hidden: true });
  #answers;

  constructor(model) {
    this.#model = model;
    this.#answers = new Answers(model);
    const file = element("input", { type: "file", id: "file", class: "visually-hidden", accept: ".csv,.tsv,.txt,.jsonl,.ndjson,.json,text/*", on: { change: () => this.#readFile(file.files[0]).then(() => (file.value = "")) } });
    const drop = element(
      "div",
      { class: "drop" },
      element("p", {}, `${text.drop} `, file, element("label", { for: "file" }, text.choose), "."),
    );
    const over = (on) => (event) => (event.preventDefault(), drop.classList.toggle("over", on));
    for (const [event, on] of [["dragover", true], ["dragleave", false]]) drop.addEventListener(event, over(on));
    drop.addEventListener("drop", (event) => (over(false)(event), event.dataTransfer.files[0] && this.#readFile(event.dataTransfer.files[0])));
    this.node = element(
      "div",
      { class: "view many" },
      element("header", { class: "lead" }, element("h1", {}, text.title), element("p", {}, text.lead)),
      element(
        "section",
        { class: "card" },
        drop,
        element("label", { for: "paste" }, text.paste),
        this.#paste,
        element(
          "div",
          { class: "row" },
          element("button", { type: "button", on: { click: () => this.#take(this.#paste.value) } }, text.read),
          element("button", { type: "button", class: "quiet", on: { click: () => this.#example() } }, text.sample),
        ),
      ),
      this.#problem.node,
      this.#rows,
      this.#work,
      this.#answers.node,
    );
  }

  #example() {
    this.#paste.value = samples.map((sample) => JSON.stringify({ name: sample.name, text: sample.text })).join("\n");
    this.#take(this.#paste.value);
  }

  async #readFile(file) {
    try {
      this.#take(await readFile(file), file.name);
    } catch (error) {
      this.#refuse(error);
    }
  }

  #take(content, fileName) {
    try {
      this.#show(parse(content, fileName));
    } catch (error) {
      this.#refuse(error);
    }
  }

  #refuse(error) {
    if (!(error instanceof Unreadable)) throw error;
    this.#problem.clear();
    this.#rows.hidden = true;
    this.#problem.node.append(error.message);
    this.#problem.node.hidden = false;
  }

  /** Shows what was read, and asks for the column. */
  #show(table) {
    this.#controller?.abort();
    this.#problem.clear();
    this.#answers.clear();
    this.#work.hidden = true;
    this.#table = table;
    const { names, rows, format } = table;
    const columns = Math.max(names?.length ?? 0, ...rows.slice(0, MOST_ROWS).map((row) => row.length));
    const nameOf = (column) => names?.[column] || text.columnName(column + 1);
    const [select, header] = [uniqueId("column"), uniqueId("header")];
    const options = Array.from({ length: columns }, (_, column) => element("option", { value: column }, nameOf(column)));
    const chosen = element("select", { id: select }, ...options);
    chosen.value = String(textColumn(table));
    this.#rows.replaceChildren(
      element("h2", {}, text.found(rows.length, text.formats[format])),
      rows.length > MOST_ROWS ? element("p", { class: "note" }, text.cut(rows.length, MOST_ROWS)) : "",
      this.#preview(columns, nameOf),
      element(
        "div",
        { class: "row" },
        element("label", { for: select }, text.column),
        chosen,
        format === "csv" || format === "tsv"
          ? element("label", { for: header, class: "row" }, element("input", { type: "checkbox", id: header, checked: names !== null, on: { change: () => this.#switchHeader() } }), text.header)
          : "",
        element("button", { type: "button", class: "primary", on: { click: () => this.#score(Number(chosen.value)) } }, text.score),
      ),
    );
    this.#rows.hidden = false;
  }

  #switchHeader() {
    const { names, rows, format } = this.#table;
    this.#show(names ? { format, names: null, rows: [names, ...rows] } : { format, names: rows[0], rows: rows.slice(1) });
  }

  #preview(columns, nameOf) {
    const numbers = Array.from({ length: columns }, (_, column) => column);
    const head = element("tr", {}, ...numbers.map((column) => element("th", { scope: "col" }, nameOf(column))));
    const body = this.#table.rows.slice(0, PREVIEW_ROWS).map((row) => element("tr", {}, ...numbers.map((column) => element("td", {}, (row[column] ?? "").slice(0, 200)))));
    return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": text.preview }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
  }

  async #score(column) {
    const rows = this.#table.rows.slice(0, MOST_ROWS);
    const results = new Array(rows.length).fill(null);
    const progress = element("progress", { max: rows.length, value: 0, "aria-label": text.title });
    const said = element("p", { role: "status" });
    const cancel = element("button", { type: "button", on: { click: () => this.#controller.abort() } }, text.cancel);
    this.#work.replaceChildren(progress, element("div", { class: "row" }, said, cancel));
    this.#work.hidden = false;
    this.#problem.clear();
    this.#answers.clear();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    const began = performance.now();
    let done = 0;
    const advance = () => {
      progress.value = done += 1;
      said.replaceChildren(text.progress(done, rows.length));
    };
    try {
      for (const slice of slices(rows, column)) await this.#slice(slice, results, signal, advance, said);
      const failed = results.filter((result) => result.problem).length;
      said.replaceChildren(text.done(done - failed, failed, (performance.now() - began) / 1000));
    } catch (error) {
      if (signal.aborted) said.replaceChildren(text.cancelled(done));
      else this.#problem.show(error);
    }
    cancel.remove();
    if (done) this.#answers.show(this.#table.names, rows, column, results);
  }

  /** Judges the rows of `slice`; what the service is too busy for is sent again when it says so. */
  async #slice(slice, results, signal, advance, said) {
    let left = slice;
    while (left.length) {
      const busy = [];
      let seconds = 1;
      const answered = new Set();
      try {
        for await (const line of stream(left, signal)) {
          if (line.done) break;
          if (line.id === undefined) continue; // of the whole stream, which ends early
          answered.add(line.id);
          if (BUSY.has(line.problem?.error_type)) {
            busy.push(line.id);
            seconds = Math.max(seconds, line.problem.retry_after ?? 1);
          } else {
            results[line.id] = line.problem ? { problem: sentence({ kind: line.problem.error_type, ...line.problem }) } : line;
            advance();
          }
        }
      } catch (error) {
        if (!error.retrySeconds) throw error;
        seconds = error.retrySeconds;
      }
      left = left.filter(({ id }) => busy.includes(id) || !answered.has(id));
      if (left.length) {
        said.replaceChildren(text.waiting(seconds));
        await pause(seconds * 1000, signal);
      }
    }
  }
}

/** Yields lines `{id, text}` for a request each; a blank text is sent, too, so that the service says what it is. */
function* slices(rows, column) {
  let [slice, characters] = [[], 0];
  for (const [id, row] of rows.entries()) {
    const line = { id, text: row[column] ?? "" };
    if (slice.length === SLICE_ROWS || (slice.length && characters + line.text.length > SLICE_CHARACTERS)) {
      yield slice;
      [slice, characters] = [[], 0];
    }
    slice.push(line);
    characters += line.text.length;
  }
  if (slice.length) yield slice;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
