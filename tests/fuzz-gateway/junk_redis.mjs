// A Redis that keeps values, and answers some commands with nonsense, with changed values, or not at all. Then it is silent.
import net from 'node:net';
import {once} from 'node:events';
import {mutate} from './mutate.mjs';

const nonsense = ['-ERR no\r\n', '-OOM command not allowed\r\n', '-READONLY\r\n', ':1\r\n', '$-1\r\n', '$5\r\nhello\r\n', '$5\r\nhello', '$999999999\r\n', '$-5\r\n', '*2\r\n:1\r\n:2\r\n', '*-1\r\n', '*1000000\r\n', '+OK\r\n+OK\r\n',
  'HTTP/1.1 400 Bad Request\r\n\r\n', '%1\r\n', '>1\r\n', '\r\n', '\0', '', ...Array.from({length: 2}, () => '*1\r\n'.repeat(50))];

/** The first whole command in `bytes`, {words, rest}, or null. */
function takeCommand(bytes) {
  const words = [];
  let at = 0;
  const line = () => {
    const end = bytes.indexOf('\r\n', at);
    const text = end < 0 ? null : bytes.toString('latin1', at, end);
    at = end + 2;
    return text;
  };
  const head = line();
  if (head === null) return null;
  for (let left = Number(head.slice(1)); left > 0; left--) {
    const size = line();
    if (size === null || bytes.length < at + Number(size.slice(1)) + 2) return null;
    words.push(bytes.subarray(at, at + Number(size.slice(1))));
    at += words.at(-1).length + 2;
  }
  return {words, rest: bytes.subarray(at)};
}

const bulk = (bytes) => Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')]);

/** {address, connections(), close()} */
export async function startJunkRedis(random) {
  const values = new Map();
  const sockets = new Set();
  const answer = ([name, key, value, end]) => {
    if (name.toString() === 'SET') values.set(key.toString('latin1'), value);
    if (name.toString() !== 'GETRANGE') return Buffer.from(name.toString() === 'PING' ? '+PONG\r\n' : '+OK\r\n');
    const kept = values.get(key.toString('latin1')) ?? Buffer.alloc(0);
    return bulk(kept.subarray(Number(value), Number(end) + 1));
  };
  const silent = new Set(); // sockets that answer nothing more: replies have no names, and the next one would count for this one
  const reply = (socket, words) => {
    const right = answer(words);
    const how = random.weighted([[80, 'right'], [8, 'changed'], [6, 'nonsense'], [2, 'silent'], [2, 'close'], [2, 'reset']]);
    if (silent.has(socket)) return;
    if (how === 'right') return socket.write(right);
    silent.add(socket);
    if (how === 'changed') socket.write(mutate(random, right));
    else if (how === 'nonsense') socket.write(random.pick(nonsense));
    else if (how === 'close') socket.end();
    else if (how === 'reset') socket.resetAndDestroy();
  };
  const server = net.createServer((socket) => {
    let pending = Buffer.alloc(0);
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (bytes) => {
      pending = Buffer.concat([pending, bytes]);
      for (let taken; !socket.destroyed && pending.length > 0 && (taken = takeCommand(pending)); pending = taken.rest) reply(socket, taken.words);
    });
    if (random.chance(10)) socket.write(random.pick(nonsense));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {address: `127.0.0.1:${server.address().port}`, connections: () => sockets.size, close() {
    server.close();
    for (const socket of sockets) socket.destroy();
  }};
}
