// A server that answers chat completions in the form of llama.cpp's and its likes: without [DONE], or with one that has no
// blank line after it; with timings in its pieces, and errors in a field of their own.
import http from 'node:http';

/** How the kinds of such servers write: `data`, what follows "data:"; `done`, the end; `error`, the name of an error's field. */
export const dialects = {
  'llama.cpp of 2024': {space: ' ', done: '', error: 'error', role: false, usage: true},
  'llama.cpp of 2026': {space: ' ', done: 'data: [DONE]\n', error: 'data', role: true, usage: true},
  'ik_llama': {space: ' ', done: '', error: 'error', role: true, usage: false},
  'text-generation-inference': {space: '', done: '', error: 'data', role: false, usage: true},
};

const words = (text) => text.split(/(?<= )/);
const sendJson = (answer, status, json) => answer.writeHead(status, {'Content-Type': 'application/json; charset=utf-8', Server: 'llama.cpp'}).end(JSON.stringify(json));
const readBody = async (request) => JSON.parse(Buffer.concat(await request.toArray()).toString());

class LlamaServer {
  constructor(dialect) {
    this.dialect = dialect;
    this.loading = 0; // so many requests more are answered that the model is being loaded
    this.open = 0;
    this.http = http.createServer((request, answer) => this.serve(request, answer));
  }

  async serve(request, answer) {
    if (request.method === 'GET' && request.url === '/health') return sendJson(answer, 200, {status: 'ok'});
    const body = await readBody(request);
    if (this.loading > 0) {
      this.loading--;
      return sendJson(answer, 503, {error: {code: 503, message: 'Loading model', type: 'unavailable_error'}});
    }
    const prompt = body.messages.at(-1).content;
    if (prompt === 'too long') return sendJson(answer, 400, {error: {code: 400, message: 'the request exceeds the available context size', type: 'exceed_context_size_error'}});
    this.open++;
    answer.on('close', () => this.open--);
    return this.stream(answer, prompt, body.max_tokens ?? Infinity);
  }

  stream(answer, prompt, maxTokens) {
    const {space, done, error, role, usage} = this.dialect;
    const write = (field, json) => answer.write(`${field}:${space}${JSON.stringify(json)}\n\n`);
    const piece = (delta, finish, more = {}) => write('data', {choices: [{finish_reason: finish, index: 0, delta}], created: 1, id: 'chatcmpl-1', model: 'tiny.gguf', object: 'chat.completion.chunk', ...more});
    const said = words(prompt).slice(0, maxTokens);
    answer.writeHead(200, {'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', Server: 'llama.cpp'});
    if (role) piece({role: 'assistant', content: null}, null);
    for (const [number, content] of said.entries()) piece({content}, null, {timings: {predicted_n: number + 1, predicted_ms: 12.5}});
    if (prompt.startsWith('hold')) return undefined;
    if (prompt.startsWith('die')) return answer.write(': dying\n\n', () => answer.destroy());
    if (prompt.startsWith('fail')) {
      write(error, error === 'data' ? {error: {code: 500, message: 'out of memory', type: 'server_error'}} : {code: 500, message: 'out of memory', type: 'server_error'});
      return answer.end();
    }
    const used = {completion_tokens: said.length, prompt_tokens: 5, total_tokens: said.length + 5};
    piece({}, words(prompt).length > maxTokens ? 'length' : 'stop', {timings: {predicted_n: said.length}, ...(usage && {usage: used})});
    return answer.end(done);
  }
}

/** Starts one that writes like this one of `dialects`. */
export async function startLlamaServer(context, dialect) {
  const server = new LlamaServer(dialects[dialect]);
  await new Promise((resolve) => server.http.listen(0, '127.0.0.1', resolve));
  server.url = `http://127.0.0.1:${server.http.address().port}`;
  context.after(() => {
    server.http.close();
    server.http.closeAllConnections();
  });
  return server;
}
