// What the tests share: the command, whose answers are the right ones, models that it converted, and a browser with a server.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const WEB = join(ROOT, 'web');
export const DEMO = join(ROOT, 'src/demo-model.rq');
const COMMAND = process.env.RQ ?? join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'release/rq');

/** A folder for a test, which goes with the process. */
export function folder() {
  const path = mkdtempSync(join(tmpdir(), 'rq-web-'));
  process.on('exit', () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Runs the command, and reads its lines of JSON. */
export function rq(...args) {
  const text = execFileSync(COMMAND, args.map(String), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 28 });
  return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

/** Makes a model's file of a checkpoint, in tests/data or elsewhere. */
export function converted(checkpoint, ...args) {
  const path = join(folder(), 'model.rq');
  execFileSync(COMMAND, ['convert', resolve(ROOT, 'tests/data', checkpoint), '-o', path, ...args], { stdio: 'ignore' });
  return path;
}

/** The SHA-256 of floats, as bytes. */
export function sha256(...floats) {
  const hash = createHash('sha256');
  for (const some of floats) hash.update(new Uint8Array(Float32Array.from(some).buffer));
  return hash.digest('hex');
}

/** A place counted in code points, in UTF-16 code units. */
export const units = (text, characters) => [...text].slice(0, characters).join('').length;

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm', '.svg': 'image/svg+xml' };

/**
 * A server of files, on this machine: of the folders for the paths that begin so. `special` answers to requests itself if it returns
 * true.
 */
export async function serve(folders, special = () => false) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    requests.push(pathname);
    if (await special(pathname, response, request)) return;
    const prefix = Object.keys(folders).find((prefix) => pathname.startsWith(prefix));
    let file = prefix && join(folders[prefix], normalize('/' + pathname.slice(prefix.length)));
    if (file?.endsWith('/')) file += 'index.html';
    try {
      const body = await readFile(file);
      response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-length': body.length });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://localhost:${server.address().port}`, requests, close };
}

/** Debian's Chromium. */
export function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}
