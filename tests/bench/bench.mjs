// What `make bench` runs when all is built: measures, prints ratios beside their targets, and writes the report.
//
//     node tests/bench/bench.mjs [PART...]      # fanout, relay, runs; ROUNDS and QUICK in the environment
import {loadavg} from 'node:os';
import {fanoutRounds} from './fanout.mjs';
import {keepResult} from './measuring.mjs';
import {relayRounds} from './relay.mjs';
import {ratiosOf, writeReport} from './report.mjs';
import {measureRuns} from './runs.mjs';

const rounds = Number(process.env.ROUNDS || 5);
const quick = Boolean(process.env.QUICK);
const log = (line) => console.error(line);

const measures = {
  fanout: () => fanoutRounds({rounds, quick, log}),
  relay: () => relayRounds({rounds, log, ...(quick && {seconds: 2})}),
  runs: () => measureRuns({rounds, log, ...(quick && {which: ['acceptance', 'parser', 'starting', 'endingIdle']})}),
};

const parts = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(measures);
const unknown = parts.filter((part) => !measures[part]);
if (unknown.length || !(rounds >= 1)) {
  console.error(`usage: bench.mjs [${Object.keys(measures).join('|')}]...; ROUNDS at least 1`);
  process.exit(2);
}

const [busy] = loadavg(); // before the first part: afterwards it is the parts' own
let failures = 0;
for (const part of parts) {
  const result = await measures[part]();
  failures += result.failures?.length ?? 0;
  keepResult(part, {quick, busy, ...result});
  console.log(ratiosOf([part]));
}
// A short form is for trying: it leaves the page as it is.
if (!quick) writeReport();
process.exitCode = failures ? 1 : 0;
