// A randomized storm over the whole gateway, with an oracle.
//     SLUICE_BIN=… node tests/storm/main.mjs [SECONDS]
// Without SECONDS: each variant once with a fixed seed, and one with a seed that is new. With SECONDS: variant after
// variant for so long, each round with a seed of its own. SEED=N repeats one: the same seed draws the same requests and
// the same answers; what happens in between is up to the machine. VARIANT=NAME takes that one alone.
import {projectPath} from '../support/sluice.mjs';
import {runRound} from './round.mjs';
import {variants} from './variants.mjs';

process.env.TSAN_OPTIONS ??= `suppressions=${projectPath('tests/tsan.supp')}`;
process.env.ASAN_OPTIONS ??= 'detect_stack_use_after_return=1:strict_string_checks=1';

const seconds = Number(process.argv[2] ?? 0);
const seed = process.env.SEED || undefined;
const {VARIANT: variantName} = process.env;
const shown = 12;
const chosen = variants.filter(({name}) => !variantName || variantName.split(',').includes(name));
const size = {sessions: 4, steps: 60, ms: 15000};
const newSeed = () => Math.floor(Math.random() * 1e9);
let passed = 0;
let failed = 0;

async function round(variant, number) {
  const began = performance.now();
  const {problems, runs, events} = await runRound(variant, number, size);
  const took = ((performance.now() - began) / 1000).toFixed(1);
  const good = problems.length === 0;
  if (good) passed++;
  else failed++;
  if (!good || !seconds) console.log(`${good ? 'ok' : 'not ok'} - ${variant.name}, SEED=${number}: ${runs} runs, ${events} events seen, ${took} s`);
  for (const problem of problems.slice(0, shown)) console.log(`    ${problem.replaceAll('\n', '\n    ')}`);
  if (problems.length > shown) console.log(`    and ${problems.length - shown} more`);
  if (!good) console.log(`    again: make storm VARIANT=${variant.name} SEED=${number}`);
}

if (chosen.length === 0) {
  console.log(`VARIANT is none of ${variants.map(({name}) => name).join(', ')}`);
  failed++;
} else if (seconds > 0) {
  const until = performance.now() + seconds * 1000;
  for (let i = 0; performance.now() < until && failed < 20; i++) await round(chosen[i % chosen.length], seed === undefined ? newSeed() : Number(seed) + i);
} else {
  for (const [i, variant] of chosen.entries()) await round(variant, Number(seed ?? i + 1));
  if (seed === undefined) await round(chosen[newSeed() % chosen.length], newSeed());
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
