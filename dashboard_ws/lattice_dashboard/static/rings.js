// A table of numbers that forgets: columns of equal length, the oldest row goes first. Pure.

export class Ring {
  #columns;
  #next = 0;
  length = 0;

  /** `width` numbers a row, at most `capacity` rows; nothing is allocated later. */
  constructor(width, capacity) {
    this.capacity = capacity;
    this.#columns = Array.from({ length: width }, () => new Float64Array(capacity));
  }

  /** Add a row; NaN stands for "nothing known". The first number of each row is its time. */
  push(...row) {
    this.#columns.forEach((column, index) => {
      column[this.#next] = row[index] ?? NaN;
    });
    this.#next = (this.#next + 1) % this.capacity;
    this.length = Math.min(this.length + 1, this.capacity);
  }

  clear() {
    this.#next = 0;
    this.length = 0;
  }

  /** The columns of the rows since the time `from`, oldest first; null where nothing is known. */
  since(from) {
    const start = (this.#next - this.length + this.capacity) % this.capacity;
    const rows = [];
    for (let index = 0; index < this.length; index += 1) {
      const place = (start + index) % this.capacity;
      if (this.#columns[0][place] >= from) rows.push(place);
    }
    return this.#columns.map((column) =>
      rows.map((place) => (Number.isNaN(column[place]) ? null : column[place])),
    );
  }
}

/** Text whose beginning is forgotten above `most` characters. */
export function appended(text, piece, most) {
  const whole = text + piece;
  return whole.length <= most ? whole : `…${whole.slice(whole.length - most + 1)}`;
}
