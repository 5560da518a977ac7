// Calls of the service. Whatever it refuses becomes a `Refused`, which `problems.js` puts into a sentence.

import { askKey, keyHeaders } from "./key.js";

// Relative to this file, so that the page works behind a proxy that puts a prefix before its path.
const ROOT = new URL("..", import.meta.url);

/** Why there is no answer: the problem document, where the service sent one; `status` 0 where nobody answered. */
export class Refused extends Error {
  constructor(status, problem, retrySeconds) {
    super(problem?.detail ?? "");
    Object.assign(this, { status, kind: problem?.error_type, detail: problem?.detail, retrySeconds });
  }
}

/** The address of a route, for people who copy it. */
export const address = (path) => new URL(path, ROOT).href;

/** The JSON at `path`. */
export async function get(path, signal) {
  return (await request(path, { signal })).json();
}

/** The text at `path`. */
export async function getText(path, signal) {
  return (await request(path, { signal })).text();
}

/** The answer to a JSON body, with the milliseconds of the round trip and of the service's own work. */
export async function post(path, body, signal) {
  const began = performance.now();
  const response = await request(path, { signal, method: "POST", body: JSON.stringify(body) }, "application/json");
  const answer = await response.json();
  const parts = (response.headers.get("Server-Timing") ?? "").matchAll(/dur=([\d.]+)/g);
  const server = [...parts].reduce((sum, [, part]) => sum + Number(part), 0);
  return { answer, roundTrip: performance.now() - began, server };
}

/** Yields each line of the answer to `lines`, objects both, as `/predict/stream` answers them. */
export async function* stream(lines, signal) {
  const body = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  const response = await request("predict/stream", { signal, method: "POST", body }, "application/x-ndjson");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
}

async function request(path, options, type) {
  const response = await send(path, options, type);
  // The key is asked for once: where the one that was given is refused as well, the sentence says so.
  if (response.status === 401 && (await askKey())) return checked(await send(path, options, type));
  return checked(response);
}

async function send(path, options, type) {
  const headers = { ...(type && { "Content-Type": type }), ...keyHeaders() };
  try {
    return await fetch(new URL(path, ROOT), { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
}

async function checked(response) {
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  throw new Refused(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
}
