// Upstream agents as programs: the real ADK api server, and the project's demo agent.
import {cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
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

/** A program that scripts/install-deps.sh installs with the Python packages. */
function pythonProgram(name, venv = 'build-python') {
  const path = projectPath(`${venv}/bin/${name}`);
  if (!existsSync(path)) throw new Error(`${path} is missing: run scripts/install-deps.sh first`);
  return path;
}

function temporaryDirectory(context) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-agent-'));
  context.after(() => rmSync(directory, {recursive: true, force: true}));
  return directory;
}

/** Runs a Python server that listens on `port` and is ready when GET `readyPath` is answered 200. */
async function startPythonServer(context, program, args, {port, readyPath, ms = 60000, env = {}, ...options}) {
  const server = new Program(program, args, {...options, env: {PYTHONDONTWRITEBYTECODE: '1', NO_COLOR: '1', ...env}});
  context.after(() => server.stop('SIGKILL'));
  const agent = new Agent(server, `http://127.0.0.1:${port}`);
  const isReady = async () => {
    if (!server.running) throw new Error(`${server.name} ended:\n${server.stderr}\n${server.stdout}`);
    return (await agent.request('GET', readyPath).catch(() => undefined))?.status === 200;
  };
  await until(isReady, `${server.name} serves`, ms);
  return agent;
}

/** The real ADK server for Python with the agent "scripted" and its sessions in a SQLite database. */
export async function startPythonAdk(context, command = 'api_server') {
  const port = await freePort();
  const database = `sqlite+aiosqlite:///${temporaryDirectory(context)}/sessions.db`;
  return startPythonServer(context, pythonProgram('adk'), [command, '--port', String(port), '--session_service_uri', database, '.'],
    {port, readyPath: '/list-apps', cwd: projectPath('tests/python/agents')});
}

/** The real web UI of ADK for Python, with the agent "workshop": see its file for what it does. `diary` gives the lines that it
 *  wrote. What the server itself would keep in the home directory of its user goes elsewhere. */
export async function startWorkshop(context) {
  const port = await freePort();
  const home = temporaryDirectory(context);
  const diary = `${home}/diary`;
  writeFileSync(diary, '');
  const args = ['web', '--port', String(port), '--session_service_uri', `sqlite+aiosqlite:///${home}/sessions.db`, '--artifact_service_uri', 'memory://', '.'];
  const agent = await startPythonServer(context, pythonProgram('adk'), args,
    {port, readyPath: '/list-apps', cwd: projectPath('tests/python/agents'), env: {HOME: home, WORKSHOP_DIARY: diary}});
  agent.diary = () => readFileSync(diary, 'utf8').split('\n').slice(0, -1);
  return agent;
}

/** The real development server of LangGraph with the graph "counting". It reports nothing to anybody. */
export async function startLangGraph(context) {
  const port = await freePort();
  const cwd = temporaryDirectory(context); // the server keeps its state there
  cpSync(projectPath('tests/python/langgraph'), cwd, {recursive: true});
  const env = {LANGSMITH_TRACING: 'false', LANGGRAPH_CLI_NO_ANALYTICS: '1', LANGGRAPH_NO_VERSION_CHECK: '1'};
  return startPythonServer(context, pythonProgram('langgraph'), ['dev', '--no-browser', '--no-reload', '--port', String(port)],
    {port, readyPath: '/ok', cwd, env});
}

/** A real server written with FastAPI and sse-starlette; `seen` gives what became of its runs, by name. */
export async function startSseStarlette(context) {
  const port = await freePort();
  const agent = await startPythonServer(context, pythonProgram('uvicorn'), ['events:app', '--port', String(port), '--log-level', 'warning'],
    {port, readyPath: '/seen', cwd: projectPath('tests/python/apps')});
  agent.seen = async () => (await agent.request('GET', '/seen')).json;
  return agent;
}

/** The real proxy of LiteLLM with these models, {name: parameters}; `key` is what it wants in Authorization. It loads its
 *  list of prices from itself and reports nothing to anybody. */
export async function startLiteLlm(context, models) {
  const port = await freePort();
  const directory = temporaryDirectory(context);
  const key = 'sk-only-for-a-test-0123456789abcdef';
  const config = {
    model_list: Object.entries(models).map(([model_name, parameters]) => ({model_name, litellm_params: {model: 'openai/any', api_key: 'none', ...parameters}})),
    litellm_settings: {telemetry: false, num_retries: 0},
    router_settings: {num_retries: 0, disable_cooldowns: true},
    general_settings: {master_key: key},
  };
  writeFileSync(`${directory}/config.yaml`, JSON.stringify(config)); // JSON is YAML
  const agent = await startPythonServer(context, pythonProgram('litellm', 'build-litellm'), ['--config', 'config.yaml', '--host', '127.0.0.1', '--port', String(port)],
    {port, readyPath: '/health/liveliness', ms: 120000, cwd: directory, env: {LITELLM_LOCAL_MODEL_COST_MAP: 'True', LITELLM_TELEMETRY: 'False'}});
  return Object.assign(agent, {key});
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
