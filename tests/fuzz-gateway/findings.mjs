// Findings are printed, and written to files that hold everything needed to see them again.
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

const keptCases = 400;

/** A case as JSON holds it, and back. */
export const packCase = (fuzzCase) => ({...fuzzCase, steps: fuzzCase.steps.map((step) => (step.send ? {send: step.send.toString('latin1')} : step))});
export const unpackCase = (packed) => ({...packed, steps: packed.steps.map((step) => (step.send !== undefined ? {send: Buffer.from(step.send, 'latin1')} : step))});

export class Findings {
  constructor(directory, side, seed) {
    Object.assign(this, {directory, side, seed, count: 0, kinds: new Set()});
    mkdirSync(directory, {recursive: true});
  }

  /** Begins a round: findings from now on belong to these settings. */
  begin(round, settings) {
    Object.assign(this, {round, settings, recent: [], found: false});
    this.began = performance.now();
  }

  /** Notes a case that is played now. The latest cases are kept, since a crash does not name its case. */
  note(fuzzCase) {
    this.recent.push({atMs: Math.round(performance.now() - this.began), fuzzCase});
    if (this.recent.length > 2 * keptCases) this.recent.splice(0, keptCases);
  }

  /** `more`: {fuzzCase, received, log}. The same kind of finding is reported once a round at most. */
  add(message, more = {}) {
    const kind = `${this.round} ${message.replace(/[0-9a-f]{6,}|\d+/g, '#').slice(0, 60)}`;
    this.found = true;
    if (this.kinds.has(kind)) return;
    this.kinds.add(kind);
    this.count++;
    const file = join(this.directory, `finding-${this.side}-${this.seed}-${this.round}-${this.count}.json`);
    const cases = more.fuzzCase ? [{atMs: 0, fuzzCase: more.fuzzCase}] : more.unrelated ? [] : this.recent.slice(-keptCases);
    writeFileSync(file, JSON.stringify({message, side: this.side, seed: this.seed, round: this.round, settings: this.settings,
      ...(more.received && {received: more.received.toString('latin1').slice(0, 20000)}), ...(more.log && {log: more.log.slice(-20000)}),
      cases: cases.map(({atMs, fuzzCase}) => ({atMs, ...packCase(fuzzCase)}))}, null, 1));
    console.log(`!  ${this.side}, round ${this.round}: ${message.slice(0, 1500)}\n   ${file}`);
    if (more.fuzzCase?.steps) console.log(`   sent: ${preview(more.fuzzCase)}`);
    if (more.received) console.log(`   received: ${JSON.stringify(more.received.toString('latin1').slice(-400))}`);
    if (more.log) console.log(more.log.slice(-4000).replace(/^/gm, '   | '));
  }
}

const preview = (fuzzCase) => fuzzCase.steps.map((step) => (step.send ? JSON.stringify(step.send.toString('latin1').slice(0, 700)) : JSON.stringify(step))).join(' ').slice(0, 1500);
