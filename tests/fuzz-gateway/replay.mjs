// Plays the cases of a finding of the side `requests` again, without other traffic.
//     node tests/fuzz-gateway/replay.mjs FILE [TIMES]    all of them, as they came
//     node tests/fuzz-gateway/replay.mjs FILE least      the fewest that are still a finding
// Other findings need their round: main.mjs SIDE SECONDS SEED ROUND.
import {readFileSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {Findings, packCase, unpackCase} from './findings.mjs';
import {playCase} from './fuzz_client.mjs';
import {boundMs, pause} from './gateway.mjs';
import {Random} from './random.mjs';
import {requestsSide} from './requests.mjs';
import {Round} from './round.mjs';

const [file, how = '3'] = process.argv.slice(2);
const finding = JSON.parse(readFileSync(file, 'utf8'));
const cases = finding.cases.map((packed) => ({atMs: packed.atMs, fuzzCase: unpackCase(packed)}));

/** The case with the new port of the gateway in its Host headers. */
function withHost(fuzzCase, host) {
  const steps = fuzzCase.steps.map((step) => (step.send ? {send: Buffer.from(step.send.toString('latin1').replace(/127\.0\.0\.1:\d{5}/g, host), 'latin1')} : step));
  return {...fuzzCase, steps};
}

/** Whether these cases are a finding. */
async function play(chosen) {
  const findings = new Findings(tmpdir(), 'replay', finding.seed);
  findings.add = (message) => { findings.found = message; };
  const round = new Round(findings, new Random('replay'), {...requestsSide, makeSettings: (_, upstream) => ({...finding.settings, upstream})});
  await round.begin(0);
  const {gateway} = round;
  const leavers = new Set();
  const first = chosen[0]?.atMs ?? 0;
  const playing = chosen.map(async ({atMs, fuzzCase}) => {
    await pause(atMs - first);
    const {error} = await playCase(gateway.port, withHost(fuzzCase, gateway.host), {boundMs, leavers});
    if (error && !error.missing) findings.add(error.message);
  });
  await pause((chosen.at(-1)?.atMs ?? 0) - first + 1000);
  await gateway.checkCalm();
  await gateway.stop(round.settings.drain_ms);
  for (const leave of [...leavers]) leave();
  await Promise.all(playing);
  await round.stop();
  return findings.found;
}

/** Leaves out unneeded cases: halves first, then ever smaller parts. */
async function reduce(all) {
  let left = all;
  for (let size = Math.ceil(left.length / 2); size >= 1; size = size > 1 ? Math.ceil(size / 2) : 0) {
    for (let at = 0; at < left.length && left.length > 1;) {
      const less = [...left.slice(0, at), ...left.slice(at + size)];
      if (less.length > 0 && await play(less)) left = less;
      else at += size;
    }
    console.log(`   ${left.length} cases`);
  }
  return left;
}

if (how === 'least') {
  const left = await reduce(cases);
  const reduced = `${file.replace(/\.json$/, '')}-least.json`;
  writeFileSync(reduced, JSON.stringify({...finding, cases: left.map(({atMs, fuzzCase}) => ({atMs, ...packCase(fuzzCase)}))}, null, 1));
  console.log(`   ${await play(left)}\n   ${reduced}`);
} else {
  for (let i = 0; i < Number(how); i++) console.log(`   ${await play(cases) || 'nothing found'}`);
}
process.exit(0);
