// @ts-check
// Where the bytes of a model come from: a URL, which the browser's cache may have, a Blob, a file of Node's, or pieces that the page
// hands over. Each is a stream of pieces, so that no file is in memory twice.

import { RqError } from './errors.js';
import { builtin } from './platform.js';

/** The name of the cache in the browser's Cache Storage. */
export const CACHE = 'rq-runtime';
/** What a cached file has beside it. */
const VERSION = 'rq-version';
/** Bytes that are taken from memory or a file at a time. */
export const PIECE = 1 << 20;

/** @typedef {AsyncIterable<Uint8Array>} Pieces */
/** @typedef {{url: string} | {path: string} | {blob: Blob} | {pieces: Pieces}} Source what the thread that computes can read */

/**
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {Pieces}
 */
export async function* streamed(stream) {
  const reader = stream.getReader();
  let finished = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield value;
    }
    finished = true;
  } finally {
    if (!finished) reader.cancel().catch(() => {});
  }
}

/**
 * @param {Uint8Array} bytes
 * @returns {Pieces}
 */
export async function* sliced(bytes) {
  // Copies, which can be handed to another thread.
  for (let at = 0; at < bytes.length; at += PIECE) yield bytes.slice(at, at + PIECE);
}

/**
 * The pieces of a response.
 * @param {Response} response
 * @param {string} name
 */
export function ofResponse(response, name) {
  if (!response.ok) throw new RqError('network', `${name}: the server answers ${response.status} ${response.statusText}`.trim());
  if (response.bodyUsed) throw new TypeError(`${name}: the response was read before`);
  return response.body ? streamed(response.body) : sliced(new Uint8Array());
}

/**
 * @param {string} path
 * @returns {Pieces}
 */
async function* ofFile(path) {
  const { open } = builtin('node:fs/promises');
  let file;
  try {
    file = await open(path);
    const buffer = new Uint8Array(PIECE);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, PIECE);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } catch (error) {
    if (error instanceof RqError || /** @type {any} */ (error).code === undefined) throw error;
    throw new RqError('system', `can't read ${path}: ${/** @type {Error} */ (error).message}`, { cause: error });
  } finally {
    await file?.close();
  }
}

/**
 * The pieces of a file that is downloaded.
 * @param {string} url
 * @param {AbortSignal | undefined} signal
 */
async function download(url, signal) {
  let response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RqError('network', `${url}: can't be downloaded: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
  return interrupted(ofResponse(response, url), url, signal);
}

/**
 * Says which download broke off.
 * @param {Pieces} pieces
 * @param {string} url
 * @param {AbortSignal | undefined} signal
 * @returns {Pieces}
 */
async function* interrupted(pieces, url, signal) {
  try {
    yield* pieces;
  } catch (error) {
    if (signal?.aborted || error instanceof RqError) throw error;
    throw new RqError('network', `${url}: the download broke off: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
}

/** @returns {Promise<Cache | undefined>} */
async function openCache() {
  try {
    return await globalThis.caches?.open(CACHE);
  } catch {
    // A page without a place to keep things, such as a sandboxed frame.
    return undefined;
  }
}

/**
 * Opens a model from its source, with `load`, which reads pieces and makes a model of them. A file from a URL is kept in the cache once
 * it was opened: what isn't sound is never kept.
 *
 * @template {{file(): Pieces}} T
 * @param {Source} source
 * @param {{cache?: boolean | string, signal?: AbortSignal}} options
 * @param {(pieces: Pieces, cached: boolean) => Promise<T>} load
 * @returns {Promise<T>}
 */
export async function opened(source, { cache = true, signal }, load) {
  if ('pieces' in source) return load(source.pieces, false);
  if ('blob' in source) return load(streamed(source.blob.stream()), false);
  if ('path' in source) return load(ofFile(source.path), false);
  const { url } = source;
  const store = cache !== false && /^https?:/.test(url) ? await openCache() : undefined;
  if (!store) return load(await download(url, signal), false);
  const version = typeof cache === 'string' ? cache : '';
  const found = await store.match(url);
  if (found && found.headers.get(VERSION) === version) {
    try {
      return await load(ofResponse(found, url), true);
    } catch (error) {
      const isOfFile = error instanceof RqError && ['model', 'checksum'].includes(error.code);
      if (!isOfFile) throw error;
    }
  }
  if (found) await store.delete(url);
  const model = await load(await download(url, signal), false);
  const file = model.file()[Symbol.asyncIterator]();
  const body = new ReadableStream({
    async pull(controller) {
      const { done, value } = await file.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  // Beside what the model does next. A cache that is full is no reason to fail.
  store.put(url, new Response(body, { headers: { [VERSION]: version, 'content-type': 'application/octet-stream' } })).catch(() => {});
  return model;
}
