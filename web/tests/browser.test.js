// The package in Chromium, from a static server: the native bits, a page that goes on, the cache, progress, breaking off, closing.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DEMO, WEB, browser, converted, rq, serve, sha256 } from './common.js';

const TEXTS = ['She opened the door and walked into the garden.', 'Résumé 🎉 \u0301 東京'];
const MASKED = 'She opened the <mask> and walked into the garden.';
const file = readFileSync(DEMO);
let chromium, server, page, tags;
/** The rest of a file that is sent in two parts. */
let goOn = () => {};

before(async () => {
  tags = converted('tasks/tags');
  const special = async (path, response) => {
    if (path === '/demo.rq') response.end(file);
    else if (path === '/compressed') response.writeHead(200, { 'content-encoding': 'identity' }).end(file);
    else if (path === '/tags.rq') response.end(readFileSync(tags));
    else if (path === '/slow.rq') {
      response.writeHead(200, { 'content-length': file.length });
      response.write(file.subarray(0, 3e6));
      goOn = () => response.end(file.subarray(3e6));
    } else if (path === '/broken.rq') {
      response.writeHead(200, { 'content-length': file.length });
      response.write(file.subarray(0, 1e6), () => response.destroy());
    } else if (path === '/short.rq') response.end(file.subarray(0, 1e6));
    else if (path === '/plain/rq-relaxed.wasm') response.end(readFileSync(join(WEB, 'package/rq-relaxed.wasm')));
    else if (path === '/') response.setHeader('content-type', 'text/html').end('<!doctype html><title>rq</title>');
    else return false;
    return true;
  };
  server = await serve({ '/package/': join(WEB, 'package'), '/plain/': join(WEB, 'package') }, special);
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  server?.close();
});

/** Runs a function in a fresh page. */
async function inPage(code, ...args) {
  const context = await chromium.newContext();
  page = await context.newPage();
  const said = [];
  page.on('pageerror', (error) => said.push(String(error)));
  try {
    await page.goto(server.url);
    const result = await page.evaluate(`import('/package/index.js').then((rq) => (${code})(rq, ...${JSON.stringify(args)}))`);
    assert.deepEqual(said, []);
    return result;
  } finally {
    await context.close();
  }
}

for (const worker of [true, false]) {
  test(`the native bits, ${worker ? 'in a worker' : 'in the page'}`, async () => {
    const said = await inPage(
      async ({ Rq }, worker, texts, masked) => {
        const rq = await Rq.open('demo.rq', { worker, cache: false });
        const hidden = (await rq.embed(texts, { pooling: 'none' })).flat();
        const floats = hidden.map((row) => [...row]);
        return { isa: rq.info.instruction_set, floats, fills: await rq.fill(masked, { top_k: 12288 }) };
      },
      worker,
      TEXTS,
      MASKED,
    );
    assert.equal(said.isa, 'relaxed');
    assert.equal(sha256(...said.floats), sha256(...rq('embed', '--json', '--pooling', 'none', ...TEXTS).flat()));
    assert.deepEqual(said.fills, rq('fill', '--json', '-k', 12288, MASKED)[0]);
  });
}

test('a page goes on while a worker computes', async () => {
  const said = await inPage(async ({ Rq }, texts) => {
    const rq = await Rq.open('demo.rq');
    let [longest, last, done] = [0, performance.now(), false];
    const tick = () => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      if (!done) setTimeout(tick);
    };
    tick();
    const start = performance.now();
    await rq.score(texts);
    done = true;
    return { longest, total: performance.now() - start };
  }, Array(60).fill(TEXTS[0].repeat(2)));
  assert.ok(said.total > 500 && said.longest < said.total / 3, JSON.stringify(said));
});

test('the cache', async () => {
  const count = () => server.requests.filter((path) => path === '/demo.rq').length;
  const first = count();
  const said = await inPage(async ({ Rq }) => {
    const open = async (options) => {
      const seen = [];
      const rq = await Rq.open('demo.rq', { ...options, onProgress: (progress) => seen.push(progress) });
      const last = seen.at(-1);
      // It is kept once the model was opened.
      for (let i = 0; i < 200 && !(await caches.match('/demo.rq')); i++) await new Promise((go) => setTimeout(go, 20));
      rq.close();
      return last.cached;
    };
    const cached = [await open(), await open(), await open({ cache: false }), await open({ cache: '2' }), await open({ cache: '2' })];
    // What is damaged there is downloaded again.
    const cache = await caches.open('rq-runtime');
    const kept = await cache.match('/demo.rq');
    const { headers } = kept;
    await cache.put('/demo.rq', new Response((await kept.arrayBuffer()).slice(0, 1e6), { headers }));
    cached.push(await open({ cache: '2' }));
    return { cached, keys: (await cache.keys()).map(({ url }) => new URL(url).pathname) };
  });
  assert.deepEqual(said, { cached: [false, true, false, false, true, false], keys: ['/demo.rq'] });
  assert.equal(count() - first, 4);
});

test('progress, and breaking off', async () => {
  const said = await inPage(async ({ Rq }) => {
    const seen = [];
    const controller = new AbortController();
    const opening = Rq.open('slow.rq', { signal: controller.signal, onProgress: (progress) => seen.push(progress) });
    while (!seen.length) await new Promise((go) => setTimeout(go, 20));
    controller.abort();
    const error = await opening.catch((error) => error.name);
    return { error, seen, kept: (await (await caches.open('rq-runtime')).keys()).length };
  });
  assert.equal(said.error, 'AbortError');
  assert.equal(said.seen[0].total, file.length);
  assert.ok(said.seen.every(({ loaded }) => loaded <= 3e6));
  assert.equal(said.kept, 0);
  goOn();
});

test('what goes wrong on the way', async () => {
  const said = await inPage(async ({ Rq }) => {
    const refused = (source) => Rq.open(source).then(() => 'opened', ({ code, message }) => `${code}: ${message}`);
    const names = ['none.rq', 'broken.rq', 'short.rq', '/', 'http://localhost:1/x.rq'];
    const messages = [];
    for (const name of names) messages.push(await refused(name));
    messages.push(await refused(await fetch('none.rq')));
    messages.push(String((await (await caches.open('rq-runtime')).keys()).length));
    return messages;
  });
  const expected = [/^network: .*none\.rq: the server answers 404/, /^network: .*broken\.rq: the download broke off/, /^model: .*1000000/, /^model: /, /^network: .*can't be downloaded/, /^network: .*404/, /^0$/];
  expected.forEach((pattern, i) => assert.match(said[i], pattern));
});

test('files of the page', async () => {
  const said = await inPage(async ({ Rq }, text) => {
    const response = await fetch('tags.rq');
    const bytes = await response.clone().arrayBuffer();
    const found = [];
    for (const source of [response, new File([bytes], 'tags.rq'), bytes, new Blob([bytes]).stream()]) {
      const rq = await Rq.open(source);
      found.push(JSON.stringify(await rq.tag(text, { aggregation_strategy: 'simple' })));
      rq.close();
    }
    return { all: [...new Set(found)], left: bytes.byteLength };
  }, '🎉 Anna Smith lives in New York.');
  assert.equal(said.all.length, 1);
  const text = '🎉 Anna Smith lives in New York.';
  const people = JSON.parse(said.all[0]).map(({ start, end }) => text.slice(start, end));
  assert.ok(people.includes('Anna Smith'), people.join());
  assert.equal(said.left, readFileSync(tags).length);
});

test('closing ends the worker, and its memory', async () => {
  const said = await inPage(async ({ Rq }, text) => {
    const rq = await Rq.open('demo.rq');
    const waiting = rq.score(text).catch(({ code }) => code);
    rq.close();
    return [await waiting, await rq.fill(text).catch(({ code }) => code)];
  }, MASKED);
  assert.deepEqual(said, ['closed', 'closed']);
});

test('a page without workers says what to do', async () => {
  const said = await inPage(async ({ Rq }) => {
    globalThis.Worker = class extends Worker {
      constructor() {
        super('/none.js', { type: 'module' });
      }
    };
    return Rq.open('demo.rq').catch(({ code, message }) => `${code}: ${message}`);
  });
  assert.match(said, /^system: the worker ended: .*worker: false/);
});

test('loading, and memory', async () => {
  const said = await inPage(async ({ Rq }) => {
    const start = performance.now();
    const rq = await Rq.open('demo.rq', { cache: false });
    await rq.fill('A <mask>.');
    const took = performance.now() - start;
    return { took, memory: await rq.memory() };
  });
  console.log(`the demo model in Chromium: ${said.took.toFixed(0)} ms to the first answer, ${(said.memory / 1e6).toFixed(1)} MB`);
  assert.ok(said.memory < file.length + 60e6);
});
