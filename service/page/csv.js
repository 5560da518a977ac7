// Rows as CSV for spreadsheets, which take a cell that begins with one of a few characters for a formula and run it.

const FORMULA = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|^[\t\r\n]/;
const NUMBER = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i;

/** `rows` of strings and numbers as CSV; a cell that a spreadsheet would run gets an apostrophe before it. */
export function csv(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    const inert = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
    return `"${inert.replaceAll('"', '""')}"`;
  };
  return `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Hands `content` to the person as a file. */
export function download(name, content) {
  const url = URL.createObjectURL(new Blob([content], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  [link.href, link.download] = [url, name];
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 0);
}
