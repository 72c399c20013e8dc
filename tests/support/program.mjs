// A program under test: its lines, its end, and that it never outlives the test process.
import {spawn} from 'node:child_process';
import {EventEmitter} from 'node:events';
import {createInterface} from 'node:readline';
import {within} from './limits.mjs';

const alive = new Set();
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});

export class Program extends EventEmitter {
  /** `env` is added to this process's environment, without the gateway's own variables. */
  constructor(command, args = [], {env = {}, cwd, detached = false} = {}) {
    super();
    this.name = command.split('/').at(-1);
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('SLUICE_')));
    this.child = spawn(command, args, {cwd, detached, env: {...inherited, ...env}, stdio: ['ignore', 'pipe', 'pipe']});
    this.lines = {stdout: [], stderr: []};
    alive.add(this.child);
    const streams = ['stdout', 'stderr'].map((stream) => new Promise((resolve) => {
      createInterface({input: this.child[stream]}).on('line', (line) => {
        this.lines[stream].push(line);
        this.emit('line', stream, line);
      }).on('close', resolve);
    }));
    /** {code, signal} once it has ended and all its output was read. */
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => {
        alive.delete(this.child);
        this.lines.stderr.push(String(error));
        resolve({code: -1, signal: null});
      });
      this.child.on('exit', async (code, signal) => {
        alive.delete(this.child);
        await Promise.all(streams);
        this.emit('line', '', '');
        resolve({code, signal});
      });
    });
  }

  get pid() { return this.child.pid; }
  get stderr() { return this.lines.stderr.join('\n'); }
  get stdout() { return this.lines.stdout.join('\n'); }
  get running() { return alive.has(this.child); }

  /** What `match` makes of the first line of `stream` for which it gives something truthy. */
  async line(stream, match, ms = 10000) {
    let onLine;
    const found = new Promise((resolve, reject) => {
      onLine = () => {
        for (const line of this.lines[stream]) {
          const result = match(line);
          if (result) return resolve(result);
        }
        if (!this.running) reject(new Error(`${this.name} ended without the line:\n${this.stderr}\n${this.stdout}`));
      };
      this.on('line', onLine);
      this.ended.then(onLine);
      onLine();
    });
    try {
      return await within(found, ms, `a line of ${this.name}; so far:\n${this.lines[stream].join('\n')}`);
    } finally {
      this.off('line', onLine);
    }
  }

  signal(name) {
    this.child.kill(name);
  }

  /** Ends it and gives {code, signal}; kills it, and fails, if it does not end in time. */
  async stop(name = 'SIGTERM', ms = 10000) {
    if (this.running) this.signal(name);
    try {
      return await within(this.ended, ms, `the end of ${this.name} after ${name}`);
    } catch (error) {
      this.signal('SIGKILL');
      throw new Error(`${error.message}\n${this.stderr.slice(-4000)}`);
    }
  }
}

/** What a program that ends by itself said: {code, signal, stdout, stderr}. */
export async function run(command, args, {ms = 20000, ...options} = {}) {
  const program = new Program(command, args, options);
  try {
    const {code, signal} = await within(program.ended, ms, `the end of ${program.name} ${args.join(' ')}`);
    return {code, signal, stdout: program.stdout, stderr: program.stderr};
  } finally {
    if (program.running) program.signal('SIGKILL');
  }
}
