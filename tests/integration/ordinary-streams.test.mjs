// The ordinary ends of streams are no errors: at no level does a line of the log call one so.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {startDemoAgent} from '../support/agents.mjs';
import {until} from '../support/limits.mjs';
import {rawRequest} from '../support/http.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const agent = await startDemoAgent({after});
const sluice = await startSluice({after}, {upstream: agent.url, log_level: 'debug'});

/** Lines that are about an error, or that the HTTP library wrote. */
const complaints = () => sluice.logs.filter(({event, level, message = ''}) => event === 'http_library' || /error/i.test(`${level} ${message}`));

const streams = {
  'a run with its own stream': async () => (await sluice.runStream(sessionPath(), 'count=3')).ended(),
  'a session until its run ends': async () => {
    const session = sessionPath();
    await sluice.run(session, 'count=3');
    await (await sluice.follow(session, '?from=start&until=run')).ended();
  },
  'a viewer that leaves': async () => {
    const client = await sluice.runStream(sessionPath(), 'hold');
    await client.event('message');
    client.leave();
  },
  'a run that is replaced': async () => {
    const session = sessionPath();
    const client = await sluice.runStream(session, 'hold');
    await client.event('message');
    await sluice.run(session, 'count=1');
    await client.ended();
  },
  'a session that is deleted': async () => {
    const session = sessionPath();
    await sluice.run(session, 'hold');
    const client = await sluice.follow(session);
    await client.event('message');
    await sluice.delete(session);
    await client.ended();
  },
  'a stream in the framing of ADK': async () => {
    const body = JSON.stringify({appName: 'demo', userId: 'u1', sessionId: `plain${Math.random()}`.replace('.', ''), newMessage: {role: 'user', parts: [{text: 'count=2'}]}, streaming: true});
    const answer = await sluice.post('/run_sse', body);
    assert.equal(answer.status, 200, answer.text);
  },
  'a stream of HTTP/1.0': async () => {
    const session = sessionPath();
    await sluice.run(session, 'count=2');
    const answer = await rawRequest(sluice.port, `GET ${session}/run?from=start&until=run HTTP/1.0\r\n\r\n`);
    assert.match(answer, /run\.end/);
  },
};

for (const [name, stream] of Object.entries(streams))
  test(`${name} ends without a complaint in the log`, async () => {
    for (let i = 0; i < 5; i++) await stream();
    await until(async () => (await sluice.stats()).subscribers === 0, 'all have left');
    assert.deepEqual(complaints(), []);
  });

test('an answer of an agent that breaks off is still one', async (t) => {
  const broken = await startUpstream(t, async (exchange) => {
    await exchange.head({headers: {'Content-Type': 'application/json'}});
    await exchange.chunk('["a",');
    exchange.reset();
  });
  const own = await startSluice(t, {upstream: broken.url, log_level: 'debug'});
  await own.get('/list-apps').catch(() => undefined);
  await own.logged({event: 'http_library', message: 'Closing connection (application error generating response).'});
});
