// Where there is room for names on the map.

export class Labels {
  #taken = []; // boxes of names, each [left, top, right, bottom]

  // take takes a box, unless it overlaps one that is taken. It returns whether it has.
  take(box) {
    if (this.#taken.some((t) => t[0] < box[2] && box[0] < t[2] && t[1] < box[3] && box[1] < t[3])) return false;
    this.#taken.push(box);
    return true;
  }
}
