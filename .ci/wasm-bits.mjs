// The bits of a model's answers, as capi/tests/bits.c prints them, from the C interface as a WASI module:
//
//     node .ci/wasm-bits.mjs RQ_CAPI.wasm MODEL.rq THREADS TOP_K TEXT...

import { readFile } from 'node:fs/promises';
import process from 'node:process';

process.removeAllListeners('warning'); // that WASI is experimental
const { WASI } = await import('node:wasi');

const [path, model, threads, topK, ...texts] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', env: process.env });
const module = await WebAssembly.compile(await readFile(path));
const { exports: rq } = await WebAssembly.instantiate(module, wasi.getImportObject());
// This is a library: there is no `_initialize` to call where it has no constructors.
wasi.initialize({ exports: { memory: rq.memory, ...(rq._initialize && { _initialize: rq._initialize }) } });

// Memory of our own: pages behind those that the module has now, which its allocator leaves alone.
const file = await readFile(model);
let next = rq.memory.buffer.byteLength;
rq.memory.grow(Math.ceil((file.length + (1 << 24)) / 65536));
const allocate = (size) => {
  const at = next;
  next += Math.ceil(size / 64) * 64;
  return at;
};
const bytes = (at, length) => new Uint8Array(rq.memory.buffer, at, length);
const view = () => new DataView(rq.memory.buffer);
const put = (data) => {
  const at = allocate(data.length);
  bytes(at, data.length).set(data);
  return [at, data.length];
};
const word = (at) => view().getUint32(at, true);
const out = allocate(8);
const check = (status, what) => {
  if (status !== 0) throw new Error(`${what}: status ${status}`);
};

// As C's %a.
const hexadecimal = (x) => {
  if (x === 0) return Object.is(x, -0) ? '-0x0p+0' : '0x0p+0';
  let exponent = Math.floor(Math.log2(Math.abs(x)));
  while (Math.abs(x) / 2 ** exponent >= 2) exponent++;
  while (Math.abs(x) / 2 ** exponent < 1) exponent--;
  const [, fraction = ''] = (Math.abs(x) / 2 ** exponent).toString(16).split('.');
  return `${x < 0 ? '-' : ''}0x1${fraction && `.${fraction}`}p${exponent < 0 ? '-' : '+'}${Math.abs(exponent)}`;
};

const message = allocate(1 << 16);
check(rq.rq_model_from_memory(...put(file), message, out), model);
const opened = word(out);
const width = rq.rq_model_hidden_size(opened);
const options = allocate(64);
view().setUint32(options, 8, true); // size, threads
view().setUint32(options + 4, Number(threads), true);
check(rq.rq_session_new(opened, options, message, out), 'session');
const session = word(out);

for (const text of texts) {
  const given = put(new TextEncoder().encode(text));
  rq.rq_hidden_states(session, ...given, 0, 0, 0, out); // says how many tokens there are
  const tokens = word(out);
  const states = allocate(4 * tokens * width);
  check(rq.rq_hidden_states(session, ...given, 0, states, tokens * width, out), 'hidden states');
  let hash = 0xcbf29ce484222325n; // FNV-1a
  for (const byte of bytes(states, 4 * tokens * width)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  console.log(`${tokens} tokens, hidden states ${hash.toString(16).padStart(16, '0')}`);

  view().setUint32(options, 12, true); // size, top_k, truncate
  view().setUint32(options + 4, Number(topK), true);
  view().setUint32(options + 8, 0, true);
  check(rq.rq_fill(session, ...given, options, out), 'fill');
  const list = word(out);
  const [items, count] = [word(list), word(list + 4)];
  const lines = [];
  for (let i = 0; i < count; i++) {
    const item = items + 28 * i; // mask, score, token, two strings
    const token = Buffer.from(bytes(word(item + 12), word(item + 16)));
    lines.push(`${word(item)} ${hexadecimal(view().getFloat32(item + 4, true))} ${token.toString('latin1')}\n`);
  }
  process.stdout.write(Buffer.from(lines.join(''), 'latin1'));
  rq.rq_fill_list_free(list);
}
rq.rq_session_free(session);
rq.rq_model_free(opened);
