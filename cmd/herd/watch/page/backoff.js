// How long to wait before the next attempt: longer each time, and never the same for two
// pages, so that a server that is back is not called by all of them at once.

const FIRST = 250;
const LONGEST = 8000;

export class Backoff {
  #attempts = 0;

  succeeded() {
    this.#attempts = 0;
  }

  // next is a time in milliseconds.
  next() {
    const limit = Math.min(LONGEST, FIRST * 2 ** this.#attempts++);
    return limit * (0.5 + Math.random() / 2);
  }
}
