// A gateway whose allocations fail when a test says so: see failing_malloc.c.
import {closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {run} from '../support/program.mjs';

/** How much is tried: all with SCARCE_LONG, otherwise what fits into a part of a minute. */
export const long = Boolean(process.env.SCARCE_LONG);

/** Where the short form begins; with the same one it tries the same numbers again. */
export const seed = Number(process.env.SCARCE_SEED || Math.floor(Math.random() * 1e6));

/** The file through which failing_malloc.c is told and tells. */
export class Scarcity {
  constructor(context) {
    this.directory = mkdtempSync(join(tmpdir(), 'sluice-scarce-'));
    this.file = openSync(join(this.directory, 'control'), 'w+');
    this.say([0, 1, 0, 0]);
    this.env = {SCARCE_CONTROL: join(this.directory, 'control'), SCARCE_TRACE: join(this.directory, 'trace')};
    context.after(() => {
      closeSync(this.file);
      rmSync(this.directory, {recursive: true, force: true});
    });
  }

  say(numbers) { writeSync(this.file, BigUint64Array.from(numbers, BigInt), 0, 8 * numbers.length, 0); }

  /** From now on, allocation `failAt` and `width - 1` behind it fail. */
  begin(failAt, width = 1) { this.say([0, width, 0, 0]); this.say([failAt]); }

  /** None fails any more. Whether as many were asked for since begin() that one was to fail. */
  end() {
    this.say([0]);
    const numbers = new BigUint64Array(4);
    readSync(this.file, numbers, 0, 32, 0);
    return numbers[3] > 0n;
  }

  /** Who asked for the allocation that failed first, as `function file:line`, as far as that can be told. */
  async place() {
    const frames = readFileSync(this.env.SCARCE_TRACE, 'latin1').split('\n').filter(Boolean).slice(0, 14);
    const named = await Promise.all(frames.map(async (frame) => {
      const [, file, address] = /^(.*?)\(.*?\+?(0x[0-9a-f]+)\)/.exec(frame) ?? [];
      if (!/\/sluice$/.test(file ?? '')) return frame.replace(/ \[.*/, '').split('/').at(-1);
      const {stdout} = await run('addr2line', ['-sfpie', file, address]);
      return stdout;
    }));
    return named.join('\n    ');
  }
}

/** The numbers n to try: 1, 2, 3… or, in the short form, every `stride`-th one from the seed's on. Without an end. */
export function* numbers(stride) {
  const step = long ? 1 : stride;
  for (let n = 1 + (long ? 0 : seed % step); ; n += step) yield n;
}
