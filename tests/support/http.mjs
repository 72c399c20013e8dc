// Plain HTTP requests: the path goes out exactly as given, each on a connection of its own.
import http from 'node:http';
import net from 'node:net';
import {run} from './program.mjs';
import {within} from './limits.mjs';

/** {status, headers, text, json}; `json` is undefined if the body is none. A body that is an object goes out as JSON. */
export function request(base, method, path, {body, headers = {}, ms = 10000} = {}) {
  const {hostname, port} = new URL(base);
  const isText = typeof body === 'string' || Buffer.isBuffer(body);
  const bytes = body === undefined || isText ? body : JSON.stringify(body);
  const sent = {...(bytes !== undefined && {'content-type': 'application/json', 'content-length': Buffer.byteLength(bytes)}), ...headers};
  for (const name of Object.keys(sent)) if (sent[name] === null) delete sent[name];
  const answer = new Promise((resolve, reject) => {
    const outgoing = http.request({hostname, port, method, path, headers: sent, agent: false}, (incoming) => {
      const parts = [];
      incoming.on('data', (part) => parts.push(part));
      incoming.on('error', reject);
      incoming.on('end', () => {
        const text = Buffer.concat(parts).toString();
        let json;
        try { json = JSON.parse(text); } catch { /* not JSON: `json` says so */ }
        resolve({status: incoming.statusCode, headers: incoming.headers, rawHeaders: incoming.rawHeaders, text, json});
      });
    });
    outgoing.on('error', reject);
    outgoing.end(bytes);
  });
  return within(answer, ms, `an answer to ${method} ${path}`);
}

/** The real curl: {code, stdout, stderr}. */
export const curl = (...args) => run('curl', ['--silent', '--show-error', '--no-buffer', ...args]);

/** Bytes as they are to the gateway, and what it answers until it closes. */
export function rawRequest(port, bytes) {
  return within(new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (part) => { text += part; });
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(text));
    socket.on('error', (error) => (text ? resolve(text) : reject(error)));
  }), 10000, 'an answer to raw bytes');
}
