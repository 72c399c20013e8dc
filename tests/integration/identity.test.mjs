// The path says whose a request is (of /run_sse the body, once), and no other answer to that gets to the agent.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {answerMarked, assertError} from '../support/expect.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, (exchange) => (exchange.path.startsWith('/run_sse') ? answerMarked(1)(exchange) : exchange.answer(200, '[]')));
const sluice = await startSluice({after}, {upstream: upstream.url});

const spellings = ['userId', 'user_id', 'USERID', 'USER_ID', 'u\u017ferId', 'user\u0130d', 'user\u0131d', '__user__Id', 'appName', 'APPNAME', 'app_name',
  'sessionId', 'session_id', 'SESSIONID', 'se\u00dfionId', '\u017fe\u017f\u017fionid'];
/** The name with each of its characters as JSON's escape. */
const escaped = (name) => [...name].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
const own = {appName: 'demo', userId: 'u1', sessionId: 's', newMessage: {role: 'user', parts: [{text: 'x'}]}};

test('a body that could name another app, user or session is refused, however it spells it', async () => {
  const before = upstream.runs.length;
  for (const name of spellings) {
    for (const body of [JSON.stringify({[name]: 'victim', message: 'x'}), `{"message":"x","${escaped(name)}":"victim"}`]) {
      const answer = await sluice.post(`${sessionPath()}/run`, undefined, {body, headers: {'Content-Type': 'application/json'}});
      assertError(answer, 400, /^identity_in_body$/);
    }
    if (!(name in own)) assertError(await sluice.post('/run_sse', {...own, [name]: 'victim'}), 400, /^(identity_in_body|invalid_body)$/);
  }
  assertError(await sluice.post('/run_sse', {...own, userId: undefined, USERID: 'u1'}), 400, /^identity_in_body$/);
  for (const name of spellings) {
    for (const parameter of [name, `${name}[]`, `${name}[0]`, `${name}[x][y]`, `[${name}]`, `[${name}][]`, `x[${name}]`, `x.${name}`, `!${name}`, ` ${name}`])
      assertError(await sluice.get(`/apps/demo/users/u1/sessions?${encodeURIComponent(parameter)}=victim`), 400, /^identity_in_query$/);
  }
  for (const parameter of ['user.id', 'user-id', 'user+id', 'user%20id'])
    assertError(await sluice.get(`/apps/demo/users/u1/sessions?${parameter}=victim`), 400, /^identity_in_query$/);
  assert.equal(upstream.runs.length, before, 'nothing of it reached the agent');
});

test('what is further in, and other names, are the agent\'s own business', async () => {
  const number = upstream.runs.length;
  const body = {newMessage: {role: 'user', parts: [{text: 'x'}], userId: 'y'}, stateDelta: {USER_ID: 1}, users: 1, session: 'z'};
  const {task_id} = await sluice.run(sessionPath('mine'), body);
  assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
  assert.deepEqual(upstream.runs[number].json, {...body, appName: 'demo', userId: 'u1', sessionId: 'mine', streaming: true});
});
