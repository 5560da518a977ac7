// A file or pasted text as rows of cells: CSV and its relatives, JSON lines, or a text a line. All is read in the browser.

import { strings } from "./strings.js";

export const MOST_BYTES = 32 * 2 ** 20;
const DELIMITERS = [",", "\t", ";", "|"];
const LOOK_CHARACTERS = 20_000; // of which the delimiter is guessed
const NAMES = /^(text|texts|review|reviews|comment|comments|content|body|message|feedback|sentence|verbatim|opinion)$/i;

/** Why a file cannot be read; the message is for a person. */
export class Unreadable extends Error {}

/** The text in `file`: UTF-8, or UTF-16 that says so. Throws Unreadable. */
export async function readFile(file) {
  if (file.size > MOST_BYTES) throw new Unreadable(strings.many.errors.big(MOST_BYTES / 2 ** 20));
  const bytes = new Uint8Array(await file.arrayBuffer());
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw new Unreadable(strings.many.errors.encoding);
  }
}

/** `{format, names, rows}` of `content`; `names` are null where the first row is one of the rows. Throws Unreadable. */
export function parse(content, fileName = "") {
  const text = content.replace(/^\ufeff/, "");
  if (!/\S/.test(text)) throw new Unreadable(strings.many.errors.empty);
  if (/\.(jsonl|ndjson|json)$/i.test(fileName) || /^\s*[{"]/.test(text) && isJson(text.trimStart().split("\n", 1)[0])) return parseJson(text);
  const delimiter = /\.txt$/i.test(fileName) ? null : guess(text, fileName);
  if (delimiter === null) {
    return { format: "text", names: null, rows: text.split(/\r\n|\n|\r/).filter((line) => /\S/.test(line)).map((line) => [line]) };
  }
  const rows = delimited(text, delimiter);
  const format = delimiter === "\t" ? "tsv" : "csv";
  return looksNamed(rows) ? { format, names: rows[0], rows: rows.slice(1) } : { format, names: null, rows };
}

/** The column that most likely holds the text: the one named so, else the one with the longest cells. */
export function textColumn({ names, rows }) {
  const named = names?.findIndex((name) => NAMES.test(name.trim())) ?? -1;
  if (named >= 0) return named;
  const columns = Math.max(...rows.slice(0, 100).map((row) => row.length), 1);
  const lengths = Array.from({ length: columns }, (_, column) => rows.slice(0, 100).reduce((sum, row) => sum + (row[column]?.length ?? 0), 0));
  return lengths.indexOf(Math.max(...lengths));
}

/** Rows of cells, as RFC 4180 has them; quotes enclose cells with delimiters and line breaks. */
export function delimited(text, delimiter) {
  const rows = [];
  let row = [];
  let at = 0;
  while (at < text.length) {
    let cell;
    [cell, at] = text[at] === '"' ? quoted(text, at) : plain(text, at, delimiter);
    row.push(cell);
    if (text[at] === delimiter) {
      at += 1;
      if (at < text.length && text[at] !== "\n" && text[at] !== "\r") continue;
      row.push("");
    }
    at += text.startsWith("\r\n", at) ? 2 : 1;
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

function plain(text, start, delimiter) {
  let end = start;
  while (end < text.length && text[end] !== delimiter && text[end] !== "\n" && text[end] !== "\r") end += 1;
  return [text.slice(start, end), end];
}

/** The cell whose opening quote is at `start`, and where it ends; what follows the closing quote belongs to it. */
function quoted(text, start) {
  let cell = "";
  let from = start + 1;
  for (;;) {
    const end = text.indexOf('"', from);
    if (end < 0) return [cell + text.slice(from), text.length];
    cell += text.slice(from, end);
    if (text[end + 1] !== '"') return [cell, end + 1];
    cell += '"';
    from = end + 2;
  }
}

/** The delimiter that parts the first lines into equally many cells, more than one; null where none does. */
function guess(text, fileName) {
  const start = text.slice(0, LOOK_CHARACTERS);
  const scored = DELIMITERS.map((delimiter) => {
    const rows = delimited(start, delimiter).slice(0, 20);
    const complete = text.length > start.length ? rows.slice(0, -1) : rows;
    const widths = complete.map((row) => row.length);
    const alike = widths.filter((width) => width === widths[0]).length / (widths.length || 1);
    return { delimiter, score: widths[0] > 1 && alike > 0.9 ? alike + widths[0] / 100 : 0 };
  });
  const best = scored.reduce((one, other) => (other.score > one.score ? other : one));
  if (best.score) return best.delimiter;
  if (/\.tsv$/i.test(fileName)) return "\t";
  return /\.csv$/i.test(fileName) || start.startsWith('"') ? "," : null;
}

/** Whether the first row is of names: short cells, one of them known, or none a number where the second row has one. */
function looksNamed([first, second]) {
  if (!second) return false;
  if (first.some((cell) => NAMES.test(cell.trim()))) return true;
  const isNumber = (cell) => cell.trim() !== "" && Number.isFinite(Number(cell));
  return first.every((cell) => cell.length < 40 && !isNumber(cell)) && second.some(isNumber);
}

function isJson(line) {
  try {
    return typeof JSON.parse(line) === "object" || line.startsWith('"');
  } catch {
    return false;
  }
}

/** Lines of objects or strings, or one array of them. */
function parseJson(text) {
  let values;
  if (/^\s*\[/.test(text)) {
    try {
      values = JSON.parse(text);
    } catch {
      throw new Unreadable(strings.many.errors.json(1));
    }
  } else {
    values = text.split(/\r\n|\n/).flatMap((line, index) => {
      if (!/\S/.test(line)) return [];
      try {
        return [JSON.parse(line)];
      } catch {
        throw new Unreadable(strings.many.errors.json(index + 1));
      }
    });
  }
  const cell = (value) => (typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value));
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const names = [...new Set(values.filter(isObject).flatMap(Object.keys))];
  if (!names.length) return { format: "json", names: null, rows: values.map((value) => [cell(value)]) };
  return { format: "json", names, rows: values.map((value) => (isObject(value) ? names.map((name) => cell(value[name])) : [cell(value)])) };
}
