// Secrets in files: others are not to read them, and the log says so if they can.
import assert from 'node:assert/strict';
import {chmodSync} from 'node:fs';
import {test} from 'node:test';
import {until} from '../support/limits.mjs';
import {startSluice, temporaryFile} from '../support/sluice.mjs';

const warnings = (sluice) => sluice.logs.filter(({event}) => event === 'secrets_exposed');

test('a file with secrets that others can read is warned of, at start and at each reload', async (t) => {
  const path = temporaryFile(t, 'sluice.yaml', 'upstream_authorization: Bearer hidden\n');
  chmodSync(path, 0o644);
  const sluice = await startSluice(t, {config: path});
  const reload = async (count) => {
    sluice.program.signal('SIGHUP');
    await until(() => sluice.logs.filter(({event}) => event === 'reloaded').length === count, 'it is reloaded');
  };
  assert.deepEqual(warnings(sluice).map(({level, file}) => [level, file]), [['warn', path]]);
  await reload(1);
  assert.equal(warnings(sluice).length, 2);
  chmodSync(path, 0o640);
  await reload(2);
  assert.equal(warnings(sluice).length, 2);
  assert.ok(!sluice.program.stderr.includes('hidden'));
});

test('a file without secrets may be read by all', async (t) => {
  const path = temporaryFile(t, 'sluice.yaml', 'run_timeout_ms: 1000\n');
  chmodSync(path, 0o644);
  const sluice = await startSluice(t, {config: path}, {env: {SLUICE_UPSTREAM_AUTHORIZATION: 'Bearer hidden'}});
  assert.equal(warnings(sluice).length, 0);
});
