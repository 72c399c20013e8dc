// Fuzzes the whole gateway, SECONDS by requests and as long by answers of its upstreams, and ends with "N passed, N failed".
//     node tests/fuzz-gateway/main.mjs requests|answers|both SECONDS [SEED [ROUND]]
// It plays rounds of some seconds, each with a gateway and settings of its own. Seed and number determine a round, except for the
// timing. With ROUND, that round alone is played again and again. With KEEP_GOING=1, it goes on after a finding.
import {join} from 'node:path';
import {sluiceBinary} from '../support/sluice.mjs';
import {playAnswersRound} from './answers.mjs';
import {Findings} from './findings.mjs';
import {Random} from './random.mjs';
import {playRequestsRound} from './requests.mjs';

const players = {requests: playRequestsRound, answers: playAnswersRound};
const roundMs = 4000;

const [side, secondsText, seed = String(Date.now() % 1000000), onlyRound] = process.argv.slice(2);
const seconds = Number(secondsText);
const sides = side === 'both' ? Object.keys(players) : [side];
if (!sides.every((each) => each in players) || !(seconds > 0)) {
  console.error('usage: main.mjs requests|answers|both SECONDS [SEED [ROUND]]');
  process.exit(2);
}

/** Plays rounds of one side, and returns the number of findings. */
async function fuzz(name) {
  const findings = new Findings(join(sluiceBinary, '../fuzz-gateway'), name, seed);
  const sums = {rounds: 0, cases: 0, canaries: 0, runs: 0, slowestMs: 0, mostBytes: 0};
  const began = performance.now();
  console.log(`   ${name}: SEED=${seed}`);
  for (let number = Number(onlyRound ?? 0); performance.now() - began < seconds * 1000; number += onlyRound === undefined ? 1 : 0) {
    const {cases, canaries, runs, slowestMs, mostBytes} = await players[name](findings, new Random(seed, name, number), number, roundMs);
    sums.rounds++;
    sums.cases += cases;
    sums.canaries += canaries;
    sums.runs += runs;
    sums.slowestMs = Math.max(sums.slowestMs, slowestMs ?? 0);
    sums.mostBytes = Math.max(sums.mostBytes, mostBytes ?? 0);
    if (findings.count > 0 && !process.env.KEEP_GOING) break;
  }
  if (sums.runs === 0 && findings.count === 0) findings.add('not one of the small runs was whole', {unrelated: true});
  console.log(`${findings.count > 0 ? '! ' : '  '} ${name}: SEED=${seed}, ${sums.rounds} rounds, ${sums.cases} cases, ${sums.canaries} canaries, of which the slowest took ` +
    `${Math.round(sums.slowestMs)} ms, ${sums.mostBytes >> 20} MiB; ${findings.count} findings`);
  return findings.count;
}

const counts = [];
for (const name of sides) counts.push(await fuzz(name));
const failed = counts.filter((count) => count > 0).length;
console.log(`${counts.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
