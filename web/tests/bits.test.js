// The bits of the native command: hidden states, scores of the whole vocabulary, and logits, with each module.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Rq } from 'rq-runtime';
import { DEMO, converted, rq, sha256 } from './common.js';

const TEXTS = [
  'She opened the door and walked into the garden.',
  'Résumé 🎉 \u0301 東京',
  'It was a fine evening in June, and nobody was in the house but the old man, his dog, and a great many clocks. '.repeat(4),
  'x',
];
const bits = fileURLToPath(new URL('bits.js', import.meta.url));

/** Compares hidden states, without relaxed SIMD and with it. */
function hidden(model) {
  const native = sha256(...rq('embed', '--json', '--truncate', '--pooling', 'none', '-m', model, ...TEXTS).flat());
  const flags = { simd128: '--no-experimental-wasm-relaxed-simd', relaxed: '--experimental-wasm-relaxed-simd' };
  for (const [isa, flag] of Object.entries(flags)) {
    const said = execFileSync(process.execPath, [flag, bits, model, ...TEXTS], { encoding: 'utf8' }).trim();
    assert.equal(said, `${isa} ${native}`);
  }
}

for (const checkpoint of ['sapiens-vh', 'tasks/answers', 'tasks/emotions']) {
  for (const quant of ['q8', 'q4']) {
    test(`hidden states: ${checkpoint}, ${quant}`, () => {
      const model = converted(checkpoint, '--quant', quant, ...(quant === 'q4' ? ['--no-calibrate'] : []));
      hidden(model);
    });
  }
}

test('hidden states: the demo model', () => hidden(DEMO));

const minilm = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'rq-models/all-MiniLM-L6-v2');
test('hidden states: all-MiniLM-L6-v2', { skip: !existsSync(minilm) && !process.env.RQ_REQUIRE_MODELS && 'NOT TESTED HERE: .ci/models gets the model' }, () => hidden(converted(minilm)));

test('scores of the whole vocabulary, and logits', async () => {
  const demo = await Rq.open(DEMO);
  const top_k = demo.info.config.vocab_size;
  const text = 'She opened the <mask> and walked into the garden.';
  const [expected] = rq('fill', '--json', '-k', top_k, text);
  const found = await demo.fill(text, { top_k });
  assert.equal(found.length, top_k);
  assert.deepEqual(found.map((one) => one.token), expected.map((one) => one.token));
  assert.equal(sha256(found.map((one) => one.score)), sha256(expected.map((one) => one.score)));
  demo.close();

  const path = converted('tasks/topics');
  const topics = await Rq.open(path);
  const logits = rq('classify', '--json', '--function', 'none', '-m', path, ...TEXTS.slice(0, 2));
  assert.deepEqual(await topics.classify(TEXTS.slice(0, 2), { top_k: null, function_to_apply: 'none' }), logits);
  topics.close();
});
