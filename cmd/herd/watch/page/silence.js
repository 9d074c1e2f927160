// How long a source of news has been silent.
//
// Two clocks are compared, since each may be wrong: performance.now may stand still while the
// computer sleeps, and Date may be set. The longer time counts, so that old data is never
// taken for new. A clock that was set is corrected by the next news.

export class Silence {
  constructor() {
    this.heard();
  }

  // heard notes that there was news. age is how old it was already, in seconds.
  heard(age = 0) {
    this.steady = performance.now();
    this.wall = Date.now();
    this.before = age;
  }

  // seconds since the news.
  seconds() {
    const steady = performance.now() - this.steady;
    const wall = Date.now() - this.wall;
    return this.before + Math.max(steady, wall, 0) / 1000;
  }
}
