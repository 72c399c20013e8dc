// Upstream agents as programs: the real ADK api server, and the project's demo agent.
import {existsSync, mkdtempSync, rmSync} from 'node:fs';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {request} from './http.mjs';
import {until} from './limits.mjs';
import {Program} from './program.mjs';
import {projectPath} from './sluice.mjs';

export const demoAgentBinary = process.env.DEMO_AGENT_BIN ?? projectPath('build/demo-agent');

const listenLine = (line) => /^LISTEN (http:\/\/\S+)$/.exec(line)?.[1];

class Agent {
  constructor(program, url) {
    this.program = program;
    this.url = url;
  }

  request(method, path, options) { return request(this.url, method, path, options); }

  /** Dies at once, in the middle of whatever it does. */
  async kill() {
    await this.program.stop('SIGKILL');
  }
}

/** The real ADK server with the agent "vana"; `ms` is long, for it loads slowly on a busy machine. */
export async function startAdk(context, {env = {}} = {}) {
  const directory = projectPath('tests/adk-upstream');
  if (!existsSync(`${directory}/node_modules`)) throw new Error(`run npm ci in ${directory} first`);
  const program = new Program(process.execPath, ['serve.mjs', '0', 'agents'], {cwd: directory, env});
  context.after(() => program.stop('SIGKILL'));
  return new Agent(program, await program.line('stdout', listenLine, 30000));
}

/** The real ADK server for Python with the agent "scripted" and its sessions in a SQLite database. */
export async function startPythonAdk(context) {
  const adk = projectPath('build-python/bin/adk');
  if (!existsSync(adk)) throw new Error('run scripts/install-deps.sh test first');
  const directory = mkdtempSync(join(tmpdir(), 'sluice-adk-'));
  context.after(() => rmSync(directory, {recursive: true, force: true}));
  const port = await freePort();
  const program = new Program(adk, ['api_server', '--port', String(port), '--session_service_uri', `sqlite+aiosqlite:///${directory}/sessions.db`, '.'],
    {cwd: projectPath('tests/python/agents'), env: {PYTHONDONTWRITEBYTECODE: '1'}});
  context.after(() => program.stop('SIGKILL'));
  const agent = new Agent(program, `http://127.0.0.1:${port}`);
  await until(async () => (await agent.request('GET', '/list-apps').catch(() => undefined))?.status === 200, 'ADK for Python serves', 60000);
  return agent;
}

/** A port that nobody listens on just now. */
async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The demo agent, app "demo". */
export async function startDemoAgent(context, {listen} = {}) {
  const program = new Program(demoAgentBinary, listen ? ['--listen', listen] : []);
  context.after(async () => {
    const killed = !program.running;
    const {code} = await program.stop();
    if (code !== 0 && !killed) throw new Error(`the demo agent ended with ${code}:\n${program.stderr}`);
  });
  const agent = new Agent(program, await program.line('stdout', listenLine));
  /** {started, running}: answers */
  agent.runs = async () => (await agent.request('GET', '/debug/runs')).json;
  return agent;
}

/** The text a person reads of ADK events: partial ones add, a whole one replaces what the partial ones gave. */
export function adkText(dataList) {
  let text = '';
  let partialFrom = 0;
  for (const data of dataList) {
    const event = JSON.parse(data);
    const added = (event.content?.parts ?? []).map((part) => part.text ?? '').join('');
    if (event.partial) {
      text += added;
    } else if (added) {
      text = text.slice(0, partialFrom) + added;
      partialFrom = text.length;
    }
  }
  return text;
}
