// Bodies of requests, and the ways to put them into chunks: right ones, nearly right ones, and nonsense.

const reservedNames = ['userId', 'sessionId', 'appName', 'user_id', 'USERID', 'u\u017ferId', 'se\u017f\u017fionId', 'AppName', 'UserID', '__user_id'];
const numbers = ['0', '-1', '1', '0.5', '1e999', '99999999999999999999', '01', '1e-400', 'NaN', 'true', 'null', '"5"', '[]', '{}', '9007199254740993'];

const optionValues = {
  on_conflict: ['"replace"', '"reject"', '"enqueue"', '"enqueue"', '"none"', '1'],
  on_disconnect: ['"continue"', '"cancel"', 'null'],
  cancel_after_idle_ms: ['0', '1', '50', '86400000', '-1', '1.5'],
  timeout_ms: ['1', '50', '2000', '0', '999999999999'],
  priority: ['1', '5', '10', '0', '11', '"high"'],
  delay_ms: ['0', '1', '30', '500', '60000', '86400000', '86400001'],
  label: ['"a"', `"${'l'.repeat(300)}"`, '"\\u2028\\u202e"', '7'],
  surprise: ['1'],
};

function gatewayOptions(random) {
  const names = Object.keys(optionValues).filter(() => random.chance(25));
  return `{${names.filter((name) => name !== 'surprise' || random.chance(20)).map((name) => `"${name}":${random.pick(optionValues[name])}`).join(',')}}`;
}

/** A message for the well-behaved upstream: see well_behaved.mjs. */
export function ask(random) {
  const count = random.weighted([[50, random.below(6)], [30, random.from(6, 60)], [6, random.from(60, 1100)], [2, random.from(1100, 5000)]]);
  const delay = count < 60 && random.chance(40) ? ` delay=${random.from(1, 20)}` : '';
  const size = random.chance(10) ? ` size=${random.from(1, count > 100 ? 200 : 20000)}` : '';
  return `count=${count}${delay}${size}${random.chance(6) ? ' hold' : ''}${random.chance(4) ? ' fail' : ''}`;
}

/** Members of a run's body next to the message. */
function moreMembers(random) {
  const members = [];
  if (random.chance(45)) members.push(`"gateway":${gatewayOptions(random)}`);
  if (random.chance(8)) members.push(`"${random.pick(reservedNames)}":"victim"`);
  if (random.chance(10)) members.push(`"stateDelta":{"a":${random.pick(numbers)}}`);
  if (random.chance(5)) members.push(`"streaming":${random.pick(['true', 'false', '0'])}`);
  if (random.chance(3)) members.push('"message":"twice"');
  return members;
}

const heavy = [
  (random) => `[${'0,'.repeat(random.from(1000, 500000))}0]`,
  (random) => `{"message":"count=1","x":[${'0,'.repeat(random.from(1000, 400000))}0]}`,
  (random) => `{"message":"count=1","x":${'['.repeat(random.from(1, 2000))}`,
  (random) => `{"message":"count=1","x":${'['.repeat(900)}${']'.repeat(900)}}`,
  (random) => `{${Array.from({length: random.from(10, 3000)}, (_, i) => `"k${i}":${i}`).join(',')},"message":"count=1"}`,
  (random) => `{"message":"count=1 ${'y'.repeat(random.from(1000, 900000))}"}`,
  (random) => `{"message":"count=1","x":"${'\\u00e9'.repeat(random.from(100, 100000))}"}`,
  (random) => `{"message":"count=1","a":{"a":${'{"a":'.repeat(random.from(1, 300))}1${'}'.repeat(300)}}}`,
  (random) => 'z'.repeat(random.from(1, 1100000)),
];

const odd = ['', '{', '}', '[]', 'null', '{"message":}', '{"message":"\\ud800"}', '{"message":"\\u0000"}', '{"message":"\xff\xfe"}', '{"message":"a","message":"b"}',
  '{"gateway":[]}', '{"message":"count=1"} x', '\xef\xbb\xbf{"message":"count=1"}', '{"message":"count=1",}', "{'message':'count=1'}", '{"message":"\x01"}',
  '{"__proto__":{"message":"x"}}', '{"message":17}', '{"query":"count=2"}', '{"message":"count=1","query":"count=2"}', '{"newMessage":{"role":"user","parts":[]}}'];

/** A body of POST .../run, as text in Latin-1 (a byte a character). */
export function runBody(random) {
  const kind = random.weighted([[70, 'good'], [12, 'adk'], [12, 'odd'], [3, 'heavy']]);
  if (kind === 'odd') return random.pick(odd);
  if (kind === 'heavy') return random.pick(heavy)(random);
  const message = kind === 'adk' ? `"newMessage":{"role":"user","parts":[{"text":"${ask(random)}"}]}` : `"${random.pick(['message', 'message', 'query'])}":"${ask(random)}"`;
  return latin1(`{${[message, ...moreMembers(random)].join(',')}}`);
}

/** A body of POST /run_sse. */
export function runSseBody(random, {app, user, session}) {
  if (random.chance(15)) return runBody(random);
  const members = [`"appName":"${app}"`, `"userId":"${user}"`, `"sessionId":"${session}"`, `"newMessage":{"role":"user","parts":[{"text":"${ask(random)}"}]}`];
  if (random.chance(10)) members.splice(random.below(members.length), 1);
  return latin1(`{${[...members, ...moreMembers(random)].join(',')}}`);
}

const latin1 = (text) => Buffer.from(text, 'utf8').toString('latin1');

// ---- chunks ----

const extensions = [';a', ';a=b', ';a="b c"', ' ;a', ';', ';;;', ';\x01junk', ';a="', '\t'];
const trailers = ['', '', '', 'X-Trailer: a\r\n', 'Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', ': \r\n', 'bare\r\n', 'a: b\n', `T: ${'t'.repeat(3000)}\r\n`];

/** Lengths around those of the library's buffers, and far beyond. */
const lineLengths = [100, 1000, 4000, 8190, 16384, 16300, 32700, 32768, 33000, 65536, 70000];

const sizeLine = (random, size) => random.weighted([
  [60, size.toString(16)], [8, size.toString(16).toUpperCase()], [8, `000${size.toString(16)}`], [10, size.toString(16) + random.pick(extensions)],
  [3, `0x${size.toString(16)}`], [2, `-${size.toString(16)}`], [2, 'f'.repeat(random.from(7, 20))], [2, `${(size + random.from(-1, 1)).toString(16)}`], [1, ''], [1, 'zz'],
  [3, `${size.toString(16)};${'a'.repeat(random.pick(lineLengths))}`], [1, '0'.repeat(random.pick(lineLengths)) + size.toString(16)],
]);

/** The body in chunks, as proper as `strict` says. */
export function chunked(random, body, strict) {
  const parts = [];
  for (let at = 0; at < body.length;) {
    const size = Math.min(body.length - at, random.from(1, random.chance(70) ? 4000 : 70000));
    const line = strict ? size.toString(16) : sizeLine(random, size);
    const end = strict || random.chance(97) ? '\r\n' : random.pick(['\n', '', '\r', '\r\r\n', 'X']);
    parts.push(line, strict || random.chance(98) ? '\r\n' : '\n', body.slice(at, at + size), end);
    at += size;
  }
  if (strict) return `${parts.join('')}0\r\n\r\n`;
  if (random.chance(4)) parts.push(sizeLine(random, 1)); // the line of a chunk that never comes
  else if (random.chance(92)) parts.push('0', random.chance(10) ? random.pick(extensions) : '', '\r\n', random.pick(trailers), '\r\n');
  return parts.join('');
}

/** A chunked body that begins with a size line longer than the library's buffer, and goes no further. */
export const endlessSizeLine = (random) => `${random.pick(['1;', '1', ';', '0;', 'a;b="'])}${random.pick(['a', '0', ' ', ';', '\t']).repeat(random.pick(lineLengths))}`;
