// A real redis-server on a free port of its own, which writes nothing to disk.
import {mkdtempSync, rmSync} from 'node:fs';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Program} from './program.mjs';

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

class RedisServer {
  constructor(port, directory) {
    Object.assign(this, {port, directory, address: `127.0.0.1:${port}`});
  }

  /** Starts it, on the same port whenever it is called again. */
  async start() {
    this.program = new Program('redis-server', ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
      '--dir', this.directory]);
    await this.program.line('stdout', (line) => line.includes('Ready to accept connections'));
  }

  /** As if its machine had failed. */
  async kill() {
    this.program.signal('SIGKILL');
    await this.program.ended;
  }

  /** Lets it hang: it neither answers nor closes anything. */
  hang() { this.program.signal('SIGSTOP'); }
  goOn() { this.program.signal('SIGCONT'); }
}

/** Starts one that is gone after the test. */
export async function startRedis(context) {
  const redis = new RedisServer(await freePort(), mkdtempSync(join(tmpdir(), 'sluice-redis-')));
  context.after(async () => {
    await redis.kill();
    rmSync(redis.directory, {recursive: true, force: true});
  });
  await redis.start();
  return redis;
}
