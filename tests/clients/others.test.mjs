// The clients of Go, Java and Rust, cut five times in each of ROUNDS=1 runs of 200 events. `make clients` builds them.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {followByProgram} from '../support/client_programs.mjs';
import {assertComplete, assertExact, cutsAfterIds, startCutRuns} from '../support/cut_runs.mjs';
import {projectPath} from '../support/sluice.mjs';

const rounds = Number(process.env.ROUNDS || 1);
const runs = await startCutRuns({after});
const built = (path) => projectPath(`build-clients/${path}`);

const exact = {
  'tmaxmax/go-sse': {follow: followByProgram(built('go-clients'), ['tmaxmax']), last: true},
  'okhttp-sse': {follow: followByProgram('java', ['-cp', `${built('java/classes')}:${built('java/dependency/*')}`, 'OkHttpSseClient']), last: false},
  'reqwest-eventsource': {follow: followByProgram(built('rust/release/reqwest-eventsource-client')), last: true},
};
const r3labs = followByProgram(built('go-clients'), ['r3labs']);

for (const [name, {follow, last}] of Object.entries(exact)) {
  test(name, async () => {
    for (let round = 0; round < rounds; round++) assertExact(await runs.watch(`${name} ${round}`, follow), {last});
    assertExact(await runs.watch(name, follow, {cuts: cutsAfterIds}), {last});
  });
}

test('r3labs/sse loses nothing, but hands over what was cut off as an event, and takes half an id for one', async () => {
  for (let round = 0; round < rounds; round++) {
    const {halves, again} = assertComplete(await runs.watch(`r3labs/sse ${round}`, r3labs));
    console.log(`r3labs/sse, round ${round}: ${halves} halves of events, ${again} events again`);
  }
  assert.deepEqual(assertComplete(await runs.watch('r3labs/sse', r3labs, {cuts: cutsAfterIds})), {halves: 0, again: 0});
});
