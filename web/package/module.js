// @ts-check
// The WebAssembly module: which one this machine can run, and how it is loaded.

import { RqError } from './errors.js';
import { builtin } from './platform.js';

/**
 * The smallest module with a function that computes a vector, in instructions that not every machine accepts.
 * @param {number[]} instructions
 */
const module = (instructions) =>
  Uint8Array.of(
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
    ...[1, 5, 1, 0x60, 0, 1, 0x7b], // a type: () -> v128
    ...[3, 2, 1, 0], // a function of it
    ...[10, instructions.length + 4, 1, instructions.length + 2, 0, ...instructions, 0x0b],
  );
const SPLAT = [0x41, 0, 0xfd, 0x0f]; // i32.const 0, i8x16.splat
const RELAXED_MADD = [0xfd, 0x85, 0x02];

/** The modules, best first, and what a machine must accept for each. */
const MODULES = [
  { url: new URL('./rq-relaxed.wasm', import.meta.url), probe: module([...SPLAT, ...SPLAT, ...SPLAT, ...RELAXED_MADD]) },
  { url: new URL('./rq-simd.wasm', import.meta.url), probe: module(SPLAT) },
];

/** @type {Map<string, Promise<WebAssembly.Module>>} */
const compiled = new Map();

/**
 * @param {URL} url
 * @returns {Promise<WebAssembly.Module>}
 */
async function compile(url) {
  if (url.protocol === 'file:') return WebAssembly.compile(await builtin('node:fs/promises').readFile(url));
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new RqError('network', `${url}: can't be downloaded: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
  if (!response.ok) throw new RqError('network', `${url}: the server answers ${response.status} ${response.statusText}`.trim());
  // Other types than this one can't be compiled while they are downloaded.
  return response.headers.get('content-type') === 'application/wasm'
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}

/** The best module that this machine can run, compiled once a thread. */
export async function bestModule() {
  const best = MODULES.find(({ probe }) => globalThis.WebAssembly?.validate(probe));
  if (!best) {
    const message = 'rq needs WebAssembly with SIMD, which is missing here: Chrome 91, Firefox 89, Safari 16.4, Node 20 and later have it';
    throw new RqError('system', message);
  }
  const { href } = best.url;
  let promise = compiled.get(href);
  if (!promise) {
    promise = compile(best.url);
    compiled.set(href, promise);
    promise.catch(() => compiled.delete(href));
  }
  return promise;
}
