/**
 * The greatest of the values of the last `window` rounds, kept as the best three that follow each other (Kathleen Nichols'
 * filter, as Linux lib/win_minmax.c): constant memory, and exact enough when the maximum leaves the window.
 */
export class WindowedMax {
  #window: number;
  #value0 = 0;
  #value1 = 0;
  #value2 = 0;
  #round0 = 0;
  #round1 = 0;
  #round2 = 0;

  constructor(window: number) {
    this.#window = window;
  }

  get value(): number {
    return this.#value0;
  }

  reset(value: number, round: number): void {
    this.#value0 = this.#value1 = this.#value2 = value;
    this.#round0 = this.#round1 = this.#round2 = round;
  }

  update(value: number, round: number): void {
    if (value >= this.#value0 || round - this.#round2 > this.#window) {
      this.reset(value, round);
      return;
    }
    if (value >= this.#value1) {
      this.#value1 = this.#value2 = value;
      this.#round1 = this.#round2 = round;
    } else if (value >= this.#value2) {
      this.#value2 = value;
      this.#round2 = round;
    }
    this.#age(value, round);
  }

  #age(value: number, round: number): void {
    const age = round - this.#round0;
    if (age > this.#window) {
      this.#shift(value, round);
      if (round - this.#round0 > this.#window) this.#shift(value, round);
    } else if (this.#round1 === this.#round0 && age > this.#window / 4) {
      this.#value1 = this.#value2 = value;
      this.#round1 = this.#round2 = round;
    } else if (this.#round2 === this.#round1 && age > this.#window / 2) {
      this.#value2 = value;
      this.#round2 = round;
    }
  }

  #shift(value: number, round: number): void {
    this.#value0 = this.#value1;
    this.#round0 = this.#round1;
    this.#value1 = this.#value2;
    this.#round1 = this.#round2;
    this.#value2 = value;
    this.#round2 = round;
  }
}
