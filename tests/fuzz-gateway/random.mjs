// Random choices that a seed repeats: the same words give the same numbers.

/** Four 32-bit numbers from a text (cyrb128). */
function hash(text) {
  let [a, b, c, d] = [1779033703, 3144134277, 1013904242, 2773480762];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = b ^ Math.imul(a ^ code, 597399067);
    b = c ^ Math.imul(b ^ code, 2869860233);
    c = d ^ Math.imul(c ^ code, 951274213);
    d = a ^ Math.imul(d ^ code, 2716044179);
  }
  return [a ^ b, b ^ c, c ^ d, d ^ a];
}

export class Random {
  /** The choices that belong to these words, such as a seed, a round and the number of a case. */
  constructor(...words) {
    this.words = words;
    [this.a, this.b, this.c, this.d] = hash(words.join('/'));
    for (let i = 0; i < 12; i++) this.next();
  }

  /** Choices that do not depend on the number of choices made here. */
  fork(...words) { return new Random(...this.words, ...words); }

  /** 32 random bits (sfc32). */
  next() {
    const sum = (this.a + this.b + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum | 0;
    return sum >>> 0;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit) { return Math.floor(this.next() / 4294967296 * limit); }

  /** A whole number from `low` to `high`, both included. */
  from(low, high) { return low + this.below(high - low + 1); }

  /** True in `percent` of a hundred cases. */
  chance(percent) { return this.next() / 42949672.96 < percent; }

  pick(list) { return list[this.below(list.length)]; }

  /** One of `choices`, an array of [weight, value]. */
  weighted(choices) {
    let left = this.below(choices.reduce((sum, [weight]) => sum + weight, 0));
    return choices.find(([weight]) => (left -= weight) < 0)[1];
  }

  /** `count` random bytes. */
  bytes(count) {
    const bytes = Buffer.allocUnsafe(count);
    for (let i = 0; i < count; i++) bytes[i] = this.next() & 255;
    return bytes;
  }

  /** A text of `count` of these characters. */
  text(count, characters = 'abcdefghijklmnopqrstuvwxyz0123456789') {
    let text = '';
    for (let i = 0; i < count; i++) text += characters[this.below(characters.length)];
    return text;
  }
}
