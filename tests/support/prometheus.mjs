// Debian's Prometheus: what it makes of the gateway's metrics, and its tool that judges texts and rules.
import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {request} from './http.mjs';
import {stretched, until} from './limits.mjs';
import {Program} from './program.mjs';

/** Fails unless promtool is content with it and has nothing to say on standard error. */
export function promtool(args, input) {
  const {status, stdout, stderr, error} = spawnSync('promtool', args, {input, encoding: 'utf8', timeout: stretched(20000)});
  assert.ifError(error);
  assert.equal(status, 0, `promtool ${args.join(' ')}:\n${stdout}${stderr}`);
  assert.equal(stderr, '');
}

/** {'name{label="value"}': number}, and the families' types by their names. */
export function readMetrics(text) {
  const lines = text.trimEnd().split('\n');
  const types = new Map(lines.filter((line) => line.startsWith('# TYPE ')).map((line) => line.split(' ').slice(2)));
  const samples = Object.fromEntries(lines.filter((line) => !line.startsWith('#')).map((line) => {
    const space = line.lastIndexOf(' ');
    return [line.slice(0, space), Number(line.slice(space + 1))];
  }));
  return {samples, types};
}

/** Names of metrics in a query, without what a histogram adds to its own. */
export const metricsOf = (query) => (query.match(/\b(?:sluice|process)_[a-z0-9_]+/g) ?? []).map((name) => name.replace(/_(bucket|sum|count)$/, ''));

class Prometheus {
  constructor(program, url) {
    this.program = program;
    this.url = url;
  }

  async ask(path) {
    const {json, text} = await request(this.url, 'GET', path);
    assert.equal(json?.status, 'success', `${path}: ${text}`);
    return json.data;
  }

  /** The first value that the query gives; undefined: none. */
  async value(query) {
    const {result} = await this.ask(`/api/v1/query?query=${encodeURIComponent(query)}`);
    return result.length > 0 ? Number(result[0].value[1]) : undefined;
  }

  /** Waits until the query gives a value that `is` is content with, and gives it. */
  async becomes(query, is) {
    let last;
    await until(async () => is(last = await this.value(query)), `a value of ${query}`, 20000);
    return last;
  }
}

/** One that scrapes the gateway as the job "sluice", twice a second, and evaluates `rules`. It and its data are gone after the test. */
export async function startPrometheus(context, gateway, {rules = []} = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-prometheus-'));
  const settings = {global: {scrape_interval: '500ms', evaluation_interval: '500ms'}, rule_files: rules,
    scrape_configs: [{job_name: 'sluice', static_configs: [{targets: [new URL(gateway.url).host]}]}]};
  writeFileSync(join(directory, 'prometheus.yml'), JSON.stringify(settings)); // which is YAML too
  const program = new Program('prometheus', [`--config.file=${directory}/prometheus.yml`, `--storage.tsdb.path=${directory}/data`,
    '--web.listen-address=127.0.0.1:0', '--log.format=json'], {cwd: directory});
  context.after(async () => {
    await program.stop();
    rmSync(directory, {recursive: true, force: true});
  });
  const address = await program.line('stderr', (line) => /"address":"(127\.0\.0\.1:[1-9]\d*)".*"Listening on"/.exec(line)?.[1]);
  await program.line('stderr', (line) => line.includes('Server is ready to receive web requests'));
  return new Prometheus(program, `http://${address}`);
}
