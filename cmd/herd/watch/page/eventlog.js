// The last events, each once, the newest last. A new connection repeats events that were received
// already.

export class EventLog {
  list = [];
  #seen = new Set();

  // kept is how many events there are at most.
  constructor(kept) {
    this.kept = kept;
  }

  // add returns whether the event is new.
  add(event) {
    const key = keyOf(event);
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    this.list.push(event);
    while (this.list.length > this.kept) this.#seen.delete(keyOf(this.list.shift()));
    return true;
  }
}

const keyOf = ({ at, server, kind, peer, text }) => JSON.stringify([at, server, kind, peer, text]);
