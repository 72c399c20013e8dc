// Random changes to bytes. They know no grammar, and are applied to the output of the grammars.

const tokens = ['\r\n', '\n', '\r', '\r\n\r\n', '\0', ' ', '\t', ':', ';', ',', '%', '%00', '%0d%0a', '%2f', '%2e', '"', '{', '}', '[', ']', '\\u0000',
  'HTTP/1.1', 'HTTP/1.0', '0\r\n\r\n', 'ffffffffffffffff', '-1', '18446744073709551616', '9999999999', 'chunked', 'Content-Length: 5\r\n',
  'Transfer-Encoding: chunked\r\n', 'data: ', 'id: ', 'event: run.end\n', 'retry: 1\n', '\n\n', '\xef\xbb\xbf', '\xff\xfe', '\xc0\x80', '\xed\xa0\x80',
  'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'HTTP/1.1 200 OK\r\n\r\n'].map((token) => Buffer.from(token, 'latin1'));

const splice = (bytes, at, removed, ...added) => Buffer.concat([bytes.subarray(0, at), ...added, bytes.subarray(at + removed)]);

const changes = [
  function flipBit(random, bytes) {
    const changed = Buffer.from(bytes);
    changed[random.below(bytes.length)] ^= 1 << random.below(8);
    return changed;
  },
  function setByte(random, bytes) {
    const changed = Buffer.from(bytes);
    changed[random.below(bytes.length)] = random.pick([0, 9, 10, 13, 32, 34, 37, 47, 58, 59, 127, 128, 255, random.below(256)]);
    return changed;
  },
  function remove(random, bytes) {
    return splice(bytes, random.below(bytes.length), random.from(1, random.chance(70) ? 4 : 400));
  },
  function insertToken(random, bytes) {
    return splice(bytes, random.below(bytes.length + 1), random.chance(30) ? random.from(1, 8) : 0, random.pick(tokens));
  },
  function insertBytes(random, bytes) {
    return splice(bytes, random.below(bytes.length + 1), 0, random.bytes(random.from(1, 12)));
  },
  function repeatSlice(random, bytes) {
    const from = random.below(bytes.length);
    const slice = bytes.subarray(from, from + random.from(1, 60));
    const times = random.chance(90) ? random.from(1, 4) : random.from(5, 2000);
    return splice(bytes, from, 0, ...Array.from({length: times}, () => slice));
  },
  function repeatByte(random, bytes) {
    return splice(bytes, random.below(bytes.length), 0, Buffer.alloc(random.from(1, random.chance(80) ? 40 : 40000), bytes[random.below(bytes.length)]));
  },
  function moveSlice(random, bytes) {
    const from = random.below(bytes.length);
    const slice = bytes.subarray(from, from + random.from(1, 40));
    const rest = splice(bytes, from, slice.length);
    return splice(rest, random.below(rest.length + 1), 0, slice);
  },
  function cutOff(random, bytes) {
    return bytes.subarray(0, random.below(bytes.length));
  },
];

/** `bytes` after one to four random changes. */
export function mutate(random, bytes) {
  let changed = bytes;
  for (let left = random.weighted([[6, 1], [3, 2], [2, 3], [1, 4]]); left > 0 && changed.length > 0; left--) changed = random.pick(changes)(random, changed);
  return changed;
}

/** `bytes` in pieces: mostly whole, or cut at random places, or each byte by itself. */
export function cutUp(random, bytes) {
  if (bytes.length < 2) return [bytes];
  const way = random.weighted([[55, 'whole'], [30, 'some'], [bytes.length < 1500 ? 8 : 0, 'each'], [7, 'lines']]);
  if (way === 'each') return Array.from(bytes, (byte) => Buffer.of(byte));
  const cuts = new Set();
  if (way === 'some') for (let left = random.from(1, 6); left > 0; left--) cuts.add(random.from(1, bytes.length - 1));
  if (way === 'lines') for (let at = bytes.indexOf(10); at >= 0 && cuts.size < 200; at = bytes.indexOf(10, at + 1)) cuts.add(random.chance(50) ? at : at + 1);
  const ends = [...cuts, bytes.length].sort((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end)).filter((piece) => piece.length > 0);
}
