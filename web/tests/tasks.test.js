// Each task says in Node what the command says, value by value.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Rq, RqError, cos_sim } from 'rq-runtime';
import { DEMO, converted, rq, units } from './common.js';

const MASKED = ['She opened the <mask> and walked in.', 'A <mask> in the hand is worth two in the <mask>.'];
const TEXTS = ['The team won the match with a late goal.', 'Add butter and salt to the soup.', 'Résumé 🎉 \u0301'];
const open = [];
const opened = async (...args) => {
  const model = await Rq.open(...args);
  open.push(model);
  return model;
};
let demo;

before(async () => {
  demo = await opened(DEMO);
});
after(() => open.forEach((model) => model.close()));

/** Checks what a promise is refused with. */
const refused = (promise, kind, ...words) =>
  assert.rejects(promise, (error) => {
    assert.equal(error instanceof RqError ? error.code : error.name, kind, error.stack);
    for (const word of words) assert.ok(error.message.includes(word), error.message);
    return true;
  });

test('fill', async () => {
  assert.deepEqual(await demo.fill(MASKED, { top_k: 3 }), rq('fill', '--json', '-k', 3, ...MASKED));
  assert.deepEqual(await demo.fill(MASKED[0]), rq('fill', '--json', MASKED[0])[0]);
  const targets = rq('fill', '--json', '--targets', 'Ġdoor,Ġroom', MASKED[0])[0];
  assert.deepEqual(await demo.fill(MASKED[0], { targets: ['Ġdoor', 'Ġroom'] }), targets);
  assert.deepEqual(await demo.fill([]), []);
  const said = [];
  const { warn } = console;
  console.warn = (line) => said.push(line);
  await demo.fill(MASKED[0], { targets: 'not a token' });
  console.warn = warn;
  assert.match(said.join(), /rq\.fill: The specified target token `not a token` does not exist/);
});

test('score', async () => {
  assert.deepEqual(await demo.score(TEXTS), rq('score', '--json', ...TEXTS));
  const score = rq('score', '--json', '--method', 'within-word-l2r', TEXTS[0])[0];
  assert.deepEqual(await demo.score(TEXTS[0], { method: 'within_word_l2r' }), score);
});

test('embed and similar', async () => {
  const rows = await demo.embed(TEXTS);
  assert.ok(rows[0] instanceof Float32Array);
  assert.deepEqual(rows, rq('embed', '--json', ...TEXTS).map((row) => Float32Array.from(row)));
  assert.deepEqual(await demo.embed(TEXTS[1]), rows[1]);
  const normal = await demo.embed(TEXTS[0], { normalize: true, truncate_dim: 64, pooling: 'cls' });
  const expected = rq('embed', '--json', '--normalize', '--dim', 64, '--pooling', 'cls', TEXTS[0])[0];
  assert.deepEqual(normal, Float32Array.from(expected));
  const tokens = await demo.embed(TEXTS, { pooling: 'none' });
  const ofTokens = rq('embed', '--json', '--pooling', 'none', ...TEXTS);
  assert.deepEqual(tokens, ofTokens.map((rows) => rows.map((row) => Float32Array.from(row))));

  const matrix = rq('similar', '--json', ...TEXTS)[0];
  TEXTS.forEach((_, i) => TEXTS.forEach((_, j) => assert.equal(Math.fround(cos_sim(rows[i], rows[j])), Math.fround(matrix[i][j]))));
  const similar = await demo.similar(TEXTS[0], TEXTS.slice(1), { top_k: 1 });
  const score = Math.max(Math.fround(matrix[0][1]), Math.fround(matrix[0][2]));
  assert.deepEqual(similar, [{ corpus_id: score === Math.fround(matrix[0][1]) ? 0 : 1, score }]);
  assert.equal(cos_sim([0, 0], [1, 0]), 0);
});

test('classify', async () => {
  const path = converted('tasks/topics');
  const model = await opened(path);
  assert.deepEqual(await model.classify(TEXTS, { top_k: null }), rq('classify', '--json', '-m', path, ...TEXTS));
  assert.deepEqual(await model.classify(TEXTS[0]), rq('classify', '--json', '-m', path, '-k', 1, TEXTS[0])[0]);
  assert.deepEqual(model.info.labels, ['sports', 'cooking', 'weather', 'money']);
  assert.equal(model.info.task, 'text-classification');

  const nli = converted('tasks/nli');
  const entailment = await opened(nli);
  const [text, text_pair] = ['A man is sleeping in the park.', 'The man is sleeping.'];
  const pair = rq('classify', '--json', '-m', nli, '-k', 1, text, '--pair', text_pair)[0];
  assert.deepEqual(await entailment.classify({ text, text_pair }), pair);
  const template = 'This text is about {}.';
  const command = ['classify', '--json', '-m', nli, '--labels', 'sports,cooking', '--template', template, TEXTS[0]];
  const options = { hypothesis_template: template };
  assert.deepEqual(await entailment.zeroShot(TEXTS[0], ['sports', 'cooking'], options), rq(...command)[0]);
  assert.deepEqual(await entailment.zeroShot([TEXTS[0]], 'sports, cooking', options), rq(...command));
  await refused(entailment.zeroShot(TEXTS[0], [], options), 'option', 'label');
});

test('tag and answer, with places as JavaScript counts them', async () => {
  const path = converted('tasks/tags');
  const model = await opened(path);
  const texts = ['Anna Smith lives in New York.', '🎉🎉 Anna Smith 🎉 lives in 東京 and New York 👩‍👩‍👧.', 'Nobody.', '𝔄 Anna 𠮷 Smith'];
  const placed = (text) => (one) => ({ ...one, start: units(text, one.start), end: units(text, one.end) });
  for (const aggregation_strategy of ['none', 'simple', 'first', 'average', 'max']) {
    const expected = rq('tag', '--json', '-m', path, '--aggregation', aggregation_strategy, ...texts);
    const found = await model.tag(texts, { aggregation_strategy });
    assert.deepEqual(found, expected.map((entities, i) => entities.map(placed(texts[i]))));
    assert.deepEqual(await model.tag(texts[1], { aggregation_strategy }), found[1]);
  }
  const people = (await model.tag(texts[1], { aggregation_strategy: 'simple' })).map(({ start, end }) => texts[1].slice(start, end));
  assert.ok(people.includes('Anna Smith') && people.includes('New York'), people.join());

  const answers = converted('tasks/answers');
  const reader = await opened(answers);
  const context = readFileSync(new URL('../../examples/texts/report.txt', import.meta.url), 'utf8');
  for (const before of ['', '🎉 𠮷 ']) {
    const text = before + context;
    const command = ['answer', '--json', '-m', answers, 'Where does Anna live?', '--context', text];
    const expected = rq(...command, '-k', 3)[0].map(placed(text));
    assert.deepEqual(await reader.answer('Where does Anna live?', text, { top_k: 3 }), expected);
    const best = await reader.answer('Where does Anna live?', text);
    assert.deepEqual(best, expected[0]);
    assert.equal(text.slice(best.start, best.end), best.answer);
  }
});

test('what a file is', async () => {
  const [info] = rq('info', '--json', DEMO);
  for (const name of ['bytes', 'fingerprint', 'max_tokens', 'parameters', 'config', 'provenance']) {
    assert.deepEqual(demo.info[name], info[name], name);
  }
  assert.equal(demo.info.task, 'fill-mask');
  assert.equal(demo.info.mask_token, '<mask>');
  assert.ok(['simd128', 'relaxed'].includes(demo.info.instruction_set));
  await demo.verify();
  const { tokens, passes, least, median } = await demo.bench({ tokens: 16, seconds: 0 });
  assert.equal(tokens, 16);
  assert.equal(passes, 3);
  assert.ok(least > 0 && median >= least);
});

test('every source', async () => {
  const bytes = readFileSync(DEMO);
  const [expected] = rq('fill', '--json', '-k', 1, MASKED[0]);
  const view = new Uint8Array(bytes.length + 7).subarray(5, bytes.length + 5);
  view.set(bytes);
  const url = new URL(`file://${DEMO}`);
  const sources = [url, url.href, bytes, view, view.slice().buffer, new Blob([bytes]), new File([bytes], 'x.rq'), new Response(bytes), new Blob([bytes]).stream()];
  for (const worker of [true, false]) {
    for (const source of sources) {
      const again = source instanceof Response || source instanceof ReadableStream;
      if (again && !worker) continue;
      const seen = [];
      const model = await Rq.open(source, { worker, verify: true, onProgress: (progress) => seen.push(progress) });
      assert.deepEqual(seen.at(-1), { loaded: bytes.length, total: bytes.length, cached: false });
      assert.deepEqual(await model.fill(MASKED[0], { top_k: 1 }), expected);
      model.close();
    }
  }
  // What the page has stays its own.
  assert.equal(view.length, bytes.length);
});

test('memory is the file and little more', async () => {
  const model = await Rq.open(DEMO);
  await model.fill(MASKED);
  const beside = (await model.memory()) - model.info.bytes;
  assert.ok(beside < 60e6, `${beside} bytes beside the file`);
  model.close();
});

test('closing', async () => {
  const model = await Rq.open(DEMO);
  const waiting = model.score(TEXTS);
  model.close();
  await refused(waiting, 'closed', 'before it answered');
  await refused(model.fill(MASKED[0]), 'closed', 'open it again');
  model.close();
  const inside = await Rq.open(DEMO, { worker: false });
  inside.close();
  await refused(inside.fill(MASKED[0]), 'closed', 'open it again');
  assert.equal(await inside.memory(), 0);
});

test('breaking off', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  for (const worker of [true, false]) {
    const opening = Rq.open(DEMO, { worker, signal: controller.signal, onProgress: () => controller.abort(reason) });
    await assert.rejects(opening, (error) => error === reason);
  }
});

test('a wrong file', async () => {
  const bytes = readFileSync(DEMO);
  const damaged = Uint8Array.from(bytes);
  damaged[damaged.length - 1000] ^= 1;
  for (const worker of [true, false]) {
    await refused(Rq.open('no-such-file.rq', { worker }), 'system', 'no-such-file.rq', 'ENOENT');
    await refused(Rq.open(new Uint8Array(), { worker }), 'model', 'the file has 0 bytes');
    await refused(Rq.open(new TextEncoder().encode('<!doctype html>'.repeat(100)), { worker }), 'model');
    await refused(Rq.open(bytes.subarray(0, 100), { worker }), 'model');
    await refused(Rq.open(bytes.subarray(0, -1), { worker }), 'model', String(bytes.length - 1), String(bytes.length));
    await refused(Rq.open(new Blob([bytes, 'x']), { worker }), 'model', String(bytes.length));
    await refused(Rq.open(damaged, { worker, verify: true }), 'model', 'checksum');
    await refused(Rq.open(bytes, { worker, sha256: '0'.repeat(64) }), 'checksum', 'SHA-256', '0000');
  }
  const model = await Rq.open(damaged);
  await refused(model.verify(), 'model', 'checksum');
  model.close();
  const { createHash } = await import('node:crypto');
  (await Rq.open(bytes, { sha256: createHash('sha256').update(bytes).digest('hex').toUpperCase() })).close();
});

test('a wrong text', async () => {
  await refused(demo.fill('no mask'), 'text', '<mask>', 'no mask');
  await refused(demo.fill([MASKED[0], 'no mask']), 'text', '2 of 2');
  await refused(demo.fill('<mask>' + ' word'.repeat(500)), 'text', '128', 'truncate: true');
  await demo.fill('<mask>' + ' word'.repeat(500), { truncate: true });
  await refused(demo.fill('<mask> \ud83c'), 'text', 'surrogate', 'place 7');
  await refused(demo.classify(TEXTS[0]), 'task', 'classif', 'masked');
  await refused(demo.fill(7), 'TypeError', 'number');
  await refused(demo.fill([MASKED[0], null]), 'TypeError', 'text 2 of 2', 'null');
  await refused(demo.answer('Where?'), 'TypeError', 'the context', 'undefined');
  await refused(demo.classify({ text: 1 }), 'TypeError', 'text of the text');
  await refused(demo.similar('a', 'b'), 'TypeError', 'array');
  await refused(demo.similar('a', ['b'], { pooling: 'none' }), 'option', 'pooling');
  // The others are answered.
  assert.equal((await demo.fill(MASKED[0])).length, 5);
});

test('a wrong option', async () => {
  await refused(demo.fill(MASKED[0], { topk: 3 }), 'option', 'options of fill', 'topk', 'top_k');
  await refused(demo.fill(MASKED[0], { top_k: -1 }), 'option', '-1');
  await refused(demo.fill(MASKED[0], { top_k: 0 }), 'option');
  await refused(demo.fill(MASKED[0], { top_k: NaN }), 'TypeError', 'top_k', 'NaN');
  await refused(demo.fill(MASKED[0], { targets: [1n] }), 'TypeError', 'targets[0]', 'bigint');
  await refused(demo.fill(MASKED[0], 5), 'TypeError', 'options of rq.fill', 'number');
  await refused(demo.embed(TEXTS[0], { pooling: 'average' }), 'option', 'average', 'mean_sqrt_len_tokens');
  await refused(demo.bench({ tokens: 1000 }), 'RangeError', '128');
  await refused(Rq.open(DEMO, { threads: 4 }), 'TypeError', 'threads', 'onProgress');
  await refused(Rq.open(DEMO, { sha256: 'abc' }), 'TypeError', 'hexadecimal');
  await refused(Rq.open(DEMO, { signal: 1 }), 'TypeError', 'AbortSignal');
  await refused(Rq.open(5), 'TypeError', 'URL', 'number');
  assert.throws(() => new Rq(), /Rq\.open/);
});
