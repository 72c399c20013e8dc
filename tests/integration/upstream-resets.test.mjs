// A connection that the upstream resets: the bytes that arrived before the reset count.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {asked, marked} from '../support/expect.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

let scriptNow;

const upstream = await startUpstream({after}, (exchange) => scriptNow(exchange));
const sluice = await startSluice({after}, {upstream: upstream.url});

/** Starts `count` runs, some at once, and gives the states that they ended in. */
async function endsOf(count, gateway = sluice, body = 'hello', atOnce = 10) {
  const ends = [];
  const one = async () => ends.push(await gateway.taskEnded((await gateway.run(sessionPath(), body)).task_id));
  for (let begun = 0; begun < count; begun += atOnce) await Promise.all(Array.from({length: atOnce}, one));
  return ends;
}

test('200 whole answers that a reset follows are 200 completed runs', async () => {
  const events = 20;
  scriptNow = async (exchange) => {
    const frames = Array.from({length: events}, (_, i) => marked(asked(exchange), i + 1)).join('');
    const chunk = `${Buffer.byteLength(frames).toString(16)}\r\n${frames}\r\n`;
    await exchange.send(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`);
    exchange.reset();
  };
  const ends = await endsOf(200);
  assert.deepEqual(ends.map(({status, reason, events: count}) => `${status} ${reason ?? ''} ${count}`),
    Array(200).fill(`completed  ${events}`));
});
