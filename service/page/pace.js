// When to ask: at once after a pause, else `MILLISECONDS` after the last time. The text that was asked for last wins.

const MILLISECONDS = 60;

/** Calls `ask(value, signal)` for the newest value; each new value aborts the call that is in flight. */
export class Pace {
  #ask;
  #last = -Infinity;
  #timer = 0;
  #controller = null;

  constructor(ask) {
    this.#ask = ask;
  }

  /** A new value: what was asked before no longer counts. */
  next(value) {
    this.stop();
    const wait = this.#last + MILLISECONDS - performance.now();
    if (wait <= 0) this.#send(value);
    else this.#timer = setTimeout(() => this.#send(value), wait);
  }

  /** Nothing is asked any more. */
  stop() {
    clearTimeout(this.#timer);
    this.#controller?.abort();
    this.#controller = null;
  }

  #send(value) {
    this.#last = performance.now();
    this.#controller = new AbortController();
    this.#ask(value, this.#controller.signal);
  }
}
