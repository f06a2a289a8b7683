// The package as npm packs it, installed into an empty project: the README's lines in Node and, bundled by Vite, in Chromium.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { DEMO, WEB, browser, folder, serve } from './common.js';

const project = folder();
const readme = readFileSync(join(WEB, 'README.md'), 'utf8');
const [program, expected] = [/^```js\n(.*?)^```/ms, /^```text\n(.*?)^```/ms].map((block) => readme.match(block)[1]);

before(() => {
  const npm = (...args) => execFileSync('npm', args, { cwd: project, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const [{ filename, size, files }] = JSON.parse(npm('pack', '--json', '--silent', WEB));
  console.log(`${filename}: ${size} bytes`);
  const names = files.map(({ path }) => path);
  const modules = ['engine', 'errors', 'index', 'module', 'platform', 'source', 'worker'].map((name) => `package/${name}.js`);
  const others = ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json', 'package/index.d.ts'];
  assert.deepEqual(names.sort(), [...others, ...modules, 'package/rq-relaxed.wasm', 'package/rq-simd.wasm'].sort());
  writeFileSync(join(project, 'package.json'), '{ "type": "module", "private": true }');
  npm('install', '--silent', '--offline', '--no-audit', '--no-fund', filename);
  writeFileSync(join(project, 'example.js'), program);
  copyFileSync(DEMO, join(project, 'model.rq'));
});

test('in Node', () => {
  assert.equal(execFileSync(process.execPath, ['example.js'], { cwd: project, encoding: 'utf8' }), expected);
});

test('bundled by Vite, in Chromium', async (context) => {
  writeFileSync(join(project, 'index.html'), '<!doctype html><title>rq</title><link rel="icon" href="data:,"><script type="module" src="/example.js"></script>');
  mkdirSync(join(project, 'public'));
  copyFileSync(DEMO, join(project, 'public/model.rq'));
  const said = execFileSync(process.execPath, [join(WEB, 'node_modules/vite/bin/vite.js'), 'build', '--logLevel', 'warn'], { cwd: project, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  assert.equal(said.trim(), '');
  const assets = readdirSync(join(project, 'dist/assets'));
  assert.equal(assets.filter((name) => name.endsWith('.wasm')).length, 2, assets.join());
  for (const name of assets) assert.ok(!/"node:/.test(name.endsWith('.js') && readFileSync(join(project, 'dist/assets', name), 'utf8')));
  const bundled = assets.filter((name) => name.endsWith('.js')).map((name) => statSync(join(project, 'dist/assets', name)).size);
  console.log(`bundled: ${bundled.join(' and ')} bytes of JavaScript`);

  const server = await serve({ '/': join(project, 'dist') + '/' });
  const chromium = await browser();
  context.after(async () => {
    await chromium.close();
    server.close();
  });
  const page = await chromium.newPage();
  const lines = [];
  page.on('console', (message) => lines.push(message.text()));
  page.on('pageerror', (error) => lines.push(String(error)));
  await page.goto(server.url);
  const count = expected.split('\n').length - 1;
  for (let i = 0; i < 300 && lines.length < count; i++) await new Promise((go) => setTimeout(go, 50));
  assert.deepEqual(lines, expected.trimEnd().split('\n'));
});
