// Servers of models that one runs oneself: their answers end by a finish_reason, and not, or not quite, by [DONE].
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {until} from '../support/limits.mjs';
import {dialects, startLlamaServer} from '../support/llama_server.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

for (const [dialect, {usage, role}] of Object.entries(dialects)) {
  test(`${dialect}: each run ends as what it is, and whole ones open no breaker`, async (t) => {
    const server = await startLlamaServer(t, dialect);
    const sluice = await startSluice(t, {upstream: server.url, upstream_kind: 'openai', upstream_health_path: '/health', breaker_failure_percent: 1, breaker_calls_min: 1, cache: true, cache_ttl_ms: 3600000});

    const outcomeOf = async (message, more = {}, gateway = sluice) => {
      const client = await gateway.runStream(sessionPath(), {message, ...more});
      assert.equal(client.status, 200, client.body.toString());
      assert.equal(await client.ended(), 'last-chunk');
      const end = client.json('run.end');
      return {end, text: (await gateway.get(`/tasks/${end.task_id}/result`)).json.text};
    };

    const whole = 'Guten Tag, schöne Welt 🌍';
    for (const [more, finish, text] of [[{}, 'stop', whole], [{max_tokens: 2}, 'length', 'Guten Tag, ']]) {
      const outcome = await outcomeOf(whole, more);
      assert.deepEqual([outcome.end.status, outcome.end.finish_reason, outcome.text, outcome.end.warning], ['completed', finish, text, undefined], JSON.stringify(outcome.end));
      const spoken = finish === 'length' ? 2 : 5;
      assert.deepEqual(outcome.end.usage, usage ? {input_tokens: 5, output_tokens: spoken, total_tokens: spoken + 5} : undefined);
      assert.equal((await outcomeOf(whole, more)).end.cached, true);
    }
    const path = sessionPath();
    const held = await sluice.runStream(path, 'hold it');
    await held.messages(role ? 3 : 2);
    assert.equal((await sluice.delete(`${path}/run`)).status, 200);
    await held.ended();
    assert.equal(held.json('run.end').status, 'cancelled');
    await until(() => server.open === 0, 'the server heard of the cancel');

    const bold = await startSluice(t, {upstream: server.url, upstream_kind: 'openai', cache: true, retry_attempts_max: 3, retry_base_ms: 5});
    server.loading = 2;
    assert.equal((await outcomeOf('hi', {}, bold)).end.status, 'completed', 'a model that is being loaded is waited for');
    for (const [message, reason, said, text] of [['die in the middle', 'upstream_truncated', /broke off/, 'die in the middle'], ['fail here', 'upstream_error', /out of memory/, 'fail here'],
      ['too long', 'upstream_status', /exceeds the available context size/, '']]) {
      for (let i = 0; i < 2; i++) { // nothing of it is kept
        const outcome = await outcomeOf(message, {}, bold);
        assert.deepEqual([outcome.end.status, outcome.end.reason, outcome.end.cached, outcome.text], ['failed', reason, undefined, text], JSON.stringify(outcome.end));
        assert.match(outcome.end.message, said);
      }
    }
  });
}
