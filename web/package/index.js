// @ts-check
// The npm package rq-runtime: models of the RoBERTa family in a web page or in Node, from one quantized file. `index.d.ts` documents
// what this module exports.

import { Engine } from './engine.js';
import { RqError, unpacked } from './errors.js';
import { builtin, isNode, listen } from './platform.js';
import { ofResponse, sliced, streamed } from './source.js';

export { RqError };

const OPEN_OPTIONS = ['onProgress', 'signal', 'cache', 'sha256', 'verify', 'worker'];

/** @param {unknown} value */
function kind(value) {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  return value.constructor?.name ?? 'object';
}

/**
 * Refuses what isn't an object of options.
 * @param {string} where
 * @param {unknown} options
 */
function checkOptions(where, options) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`the options of ${where} are an object, not ${kind(options)}`);
  }
}

/**
 * Refuses what isn't a text.
 * @param {string} where
 * @param {string} what
 * @param {unknown} text
 */
function checkText(where, what, text) {
  if (typeof text !== 'string') throw new TypeError(`${where}: ${what} is a string, not ${kind(text)}`);
  const at = text.search(/\p{Surrogate}/u);
  if (at !== -1) throw new RqError('text', `${where}: ${what} has half of a surrogate pair at place ${at}: a text is whole characters`);
}

/**
 * A text, or several.
 * @param {string} where
 * @param {unknown} input
 * @returns {string[]}
 */
function textsOf(where, input) {
  if (typeof input === 'string') {
    checkText(where, 'the text', input);
    return [input];
  }
  if (!Array.isArray(input)) throw new TypeError(`${where}: expected a string, or an array of strings, not ${kind(input)}`);
  input.forEach((text, i) => checkText(where, `text ${i + 1} of ${input.length}`, text));
  return input;
}

/**
 * Refuses what JSON would change in silence.
 * @param {string} where
 * @param {any} value
 */
function checkValues(where, value, name = '') {
  if (typeof value === 'string') checkText(where, name, value);
  else if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError(`${where}: ${name} is ${value}`);
  else if (['bigint', 'symbol', 'function'].includes(typeof value)) throw new TypeError(`${where}: ${name} can't be ${kind(value)}`);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) checkValues(where, inner, Array.isArray(value) ? `${name}[${key}]` : key);
  }
}

/**
 * What the thread that computes can read, of what the page names; `pieces` are read here and handed to it.
 * @param {any} source
 * @returns {import('./source.js').Source}
 */
function sourceOf(source) {
  if (source instanceof URL) source = source.href;
  if (typeof source === 'string') {
    if (isNode && source.startsWith('file:')) return { path: builtin('node:url').fileURLToPath(source) };
    // One letter and a colon is a drive.
    if (isNode && !/^[a-z][a-z0-9+.-]+:/i.test(source)) return { path: builtin('node:path').resolve(source) };
    return { url: new URL(source, globalThis.document?.baseURI ?? globalThis.location?.href).href };
  }
  if (source instanceof Blob) return { blob: source };
  if (source instanceof Response) return { pieces: ofResponse(source, source.url || 'the response') };
  if (source instanceof ReadableStream) return { pieces: streamed(source) };
  if (ArrayBuffer.isView(source)) return { pieces: sliced(new Uint8Array(source.buffer, source.byteOffset, source.byteLength)) };
  if (source instanceof ArrayBuffer || kind(source) === 'SharedArrayBuffer') return { pieces: sliced(new Uint8Array(source)) };
  const expected = 'a URL, a path in Node, a File or Blob, an ArrayBuffer, a typed array, a Response or a ReadableStream';
  throw new TypeError(`Rq.open takes ${expected}, not ${kind(source)}`);
}

/**
 * @typedef {object} Computer what computes: an engine on this thread, or in a worker
 * @property {(request: import('./engine.js').Request) => Promise<import('./engine.js').Answer>} call
 * @property {() => void} close
 */

/** @typedef {{onProgress: (progress: any) => void, signal?: AbortSignal, cache?: boolean | string, sha256?: string, verify?: boolean}} Opening */

/**
 * Computes on this thread.
 * @param {import('./source.js').Source} source
 * @param {Opening} opening
 * @returns {Promise<Computer>}
 */
async function here(source, { onProgress, ...options }) {
  const engine = await Engine.open(source, options, onProgress);
  return { call: async (request) => engine.call(request), close: () => engine.close() };
}

/** @returns {any} */
function newWorker() {
  if (!isNode) return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  // Not in words that a bundler for browsers understands.
  const file = './worker.js';
  const worker = new (builtin('node:worker_threads').Worker)(new URL(/* @vite-ignore */ file, import.meta.url));
  // It doesn't keep the program running unless it computes.
  worker.unref();
  return worker;
}

/**
 * Computes in a worker.
 * @param {import('./source.js').Source} source
 * @param {Opening} opening
 * @returns {Promise<Computer>}
 */
async function inWorker(source, { onProgress, signal, ...options }) {
  const worker = newWorker();
  /** What was asked, by number. @type {Map<number, {resolve: (result: any) => void, reject: (error: unknown) => void}>} */
  const asked = new Map();
  let [count, ended] = [0, ''];
  const pieces = 'pieces' in source ? source.pieces[Symbol.asyncIterator]() : undefined;

  const settle = (/** @type {number} */ id) => {
    const one = asked.get(id);
    asked.delete(id);
    if (asked.size === 0) worker.unref?.();
    return one;
  };
  /**
   * @param {unknown} error
   * @param {string} message
   */
  const end = (error, message) => {
    ended ||= message;
    worker.terminate();
    pieces?.return?.();
    for (const id of [...asked.keys()]) settle(id)?.reject(error);
  };
  const crashed = (/** @type {any} */ event) => {
    event.preventDefault?.();
    const message = `the worker ended: ${event.message || "it can't be loaded"}; the option worker: false computes without one`;
    end(new RqError('system', message), message);
  };
  if (worker.on) worker.on('error', crashed);
  else worker.addEventListener('error', crashed);

  listen(worker, async (message) => {
    if (message.type === 'answer') settle(message.id)?.resolve(message.result);
    else if (message.type === 'error') settle(message.id)?.reject(unpacked(message.error));
    else if (message.type === 'progress') onProgress(message.progress);
    else {
      try {
        const { value } = await /** @type {AsyncIterator<Uint8Array>} */ (pieces).next();
        // Moved, unless it is a part of something larger.
        const piece = value && value.byteLength < value.buffer.byteLength ? value.slice() : value;
        worker.postMessage({ type: 'piece', piece }, piece ? [piece.buffer] : []);
      } catch (error) {
        end(error, String(error));
      }
    }
  });

  const ask = (/** @type {object} */ message) =>
    new Promise((resolve, reject) => {
      if (ended) return reject(new RqError('closed', ended));
      const id = count++;
      asked.set(id, { resolve, reject });
      worker.ref?.();
      worker.postMessage({ id, ...message });
    });

  const abort = () => end(signal?.reason, 'the model was never opened');
  signal?.addEventListener('abort', abort);
  try {
    await ask({ type: 'open', source: pieces ? undefined : source, options });
  } catch (error) {
    end(error, 'the model was never opened');
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
  return {
    call: (request) => ask({ type: 'call', request }),
    close: () => end(new RqError('closed', 'the model was closed before it answered'), 'the model is closed: open it again'),
  };
}

/**
 * The cosine of the angle between two embeddings.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 */
export function cos_sim(a, b) {
  if (a.length !== b.length) throw new RangeError(`embeddings of ${a.length} and ${b.length} dimensions can't be compared`);
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  const lengths = Math.sqrt(aa * bb);
  return lengths > 0 ? Math.min(Math.max(ab / lengths, -1), 1) : 0;
}

/**
 * The one result of a text, or those of several.
 * @template T
 * @param {unknown} input
 * @param {T[]} results
 */
const each = (input, results) => (Array.isArray(input) ? results : results[0]);

/**
 * The one of a list of one.
 * @template T
 * @param {T[]} list
 */
const only = (list) => (list.length === 1 ? list[0] : list);

export class Rq {
  /** @type {Computer} */
  #computer;
  #info;

  /** What makes a model is {@link Rq.open}. */
  constructor(/** @type {any} */ computer, /** @type {any} */ info) {
    if (typeof computer?.call !== 'function') throw new TypeError('a model is opened by: await Rq.open(...)');
    this.#computer = computer;
    this.#info = info;
  }

  /**
   * @param {any} source
   * @param {any} [options]
   */
  static async open(source, options = {}) {
    checkOptions('Rq.open', options);
    const unknown = Object.keys(options).find((name) => !OPEN_OPTIONS.includes(name));
    if (unknown !== undefined) throw new TypeError(`Rq.open has no option ${unknown}; it has ${OPEN_OPTIONS.join(', ')}`);
    const { worker = true, onProgress = () => {}, signal, cache, sha256, verify } = options;
    if (typeof onProgress !== 'function') throw new TypeError(`onProgress is a function, not ${kind(onProgress)}`);
    if (signal !== undefined && !(signal instanceof AbortSignal)) throw new TypeError(`signal is an AbortSignal, not ${kind(signal)}`);
    if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256)) throw new TypeError(`sha256 is 64 hexadecimal digits, not ${sha256}`);
    for (const [name, value] of Object.entries({ verify, worker })) {
      if (value !== undefined && typeof value !== 'boolean') throw new TypeError(`${name} is true or false, not ${kind(value)}`);
    }
    if (cache !== undefined && !['boolean', 'string'].includes(typeof cache)) {
      throw new TypeError(`cache is true or false, or the version of the file, a string; not ${kind(cache)}`);
    }
    signal?.throwIfAborted();
    const open = worker ? inWorker : here;
    const computer = await open(sourceOf(source), { onProgress, signal, cache, sha256, verify });
    const { answer } = await computer.call({ task: 'info' });
    return new Rq(computer, answer);
  }

  /**
   * @param {string} task
   * @param {unknown} inputs
   * @param {unknown} options
   */
  async #ask(task, inputs, options) {
    checkOptions(`rq.${task}`, options);
    checkValues(`rq.${task}`, options);
    const result = await this.#computer.call({ task, inputs, options });
    for (const warning of result.warnings) console.warn(`rq.${task}: ${warning}`);
    return result;
  }

  get info() {
    return structuredClone(this.#info);
  }

  /**
   * @param {any} texts
   * @param {any} [options]
   */
  async fill(texts, options = {}) {
    const { answer } = await this.#ask('fill', textsOf('rq.fill', texts), options);
    return each(texts, answer.map(only));
  }

  /**
   * @param {any} texts
   * @param {any} [options]
   */
  async score(texts, options = {}) {
    const { answer } = await this.#ask('score', textsOf('rq.score', texts), options);
    return each(texts, answer);
  }

  /**
   * @param {any} texts
   * @param {any} [options]
   */
  async embed(texts, options = {}) {
    const { answer, floats } = await this.#ask('embed', textsOf('rq.embed', texts), options);
    const { dimension, tokens } = answer;
    let at = 0;
    const row = () => floats.subarray(at, (at += dimension));
    if (tokens) return each(texts, tokens.map((/** @type {number} */ count) => Array.from({ length: count }, row)));
    return each(texts, Array.from({ length: floats.length / dimension }, row));
  }

  /**
   * @param {any} query
   * @param {any} texts
   * @param {any} [options]
   */
  async similar(query, texts, options = {}) {
    checkText('rq.similar', 'the query', query);
    if (!Array.isArray(texts)) throw new TypeError(`rq.similar: expected an array of strings to compare with, not ${kind(texts)}`);
    textsOf('rq.similar', texts);
    checkOptions('rq.similar', options);
    const { top_k = 10, ...embed } = options;
    if (!Number.isInteger(top_k) || top_k < 1) throw new TypeError(`rq.similar: top_k is a whole number from 1, not ${top_k}`);
    const [of, ...others] = await this.embed([query, ...texts], embed);
    if (Array.isArray(of)) throw new RqError('option', 'rq.similar compares one embedding of each text, and here each token has one: choose a pooling');
    const score = (/** @type {Float32Array} */ embedding) => Math.fround(cos_sim(of, embedding));
    const scores = others.map((/** @type {Float32Array} */ embedding, /** @type {number} */ corpus_id) => ({ corpus_id, score: score(embedding) }));
    return scores.sort((/** @type {any} */ a, /** @type {any} */ b) => b.score - a.score).slice(0, top_k);
  }

  /**
   * @param {any} texts
   * @param {any} [options]
   */
  async classify(texts, options = {}) {
    const inputs = Array.isArray(texts) ? texts : [texts];
    const pairs = inputs.map((input, i) => {
      const what = Array.isArray(texts) ? `text ${i + 1} of ${inputs.length}` : 'the text';
      if (typeof input !== 'object' || input === null) {
        checkText('rq.classify', what, input);
        return { text: input };
      }
      checkText('rq.classify', `text of ${what}`, input.text);
      if (input.text_pair !== undefined) checkText('rq.classify', `text_pair of ${what}`, input.text_pair);
      return input;
    });
    const { answer } = await this.#ask('classify', pairs, options);
    return each(texts, answer);
  }

  /**
   * @param {any} texts
   * @param {any} labels
   * @param {any} [options]
   */
  async zeroShot(texts, labels, options = {}) {
    checkOptions('rq.zeroShot', options);
    const candidates = typeof labels === 'string' ? labels.split(',').map((label) => label.trim()).filter(Boolean) : labels;
    textsOf('rq.zeroShot, labels', candidates);
    const { answer } = await this.#ask('zeroShot', textsOf('rq.zeroShot', texts), { ...options, candidate_labels: candidates });
    return each(texts, answer);
  }

  /**
   * @param {any} texts
   * @param {any} [options]
   */
  async tag(texts, options = {}) {
    const { answer } = await this.#ask('tag', textsOf('rq.tag', texts), options);
    return each(texts, answer);
  }

  /**
   * @param {any} question
   * @param {any} context
   * @param {any} [options]
   */
  async answer(question, context, options = {}) {
    checkText('rq.answer', 'the question', question);
    checkText('rq.answer', 'the context', context);
    const { answer } = await this.#ask('answer', [{ question, context }], options);
    return only(answer[0]);
  }

  async verify() {
    await this.#ask('verify', null, {});
  }

  /**
   * @param {any} [options]
   */
  async bench(options = {}) {
    checkOptions('rq.bench', options);
    const { tokens = 128, seconds = 1 } = options;
    const most = this.#info.max_tokens;
    if (!Number.isInteger(tokens) || tokens < 1 || tokens > most) {
      throw new RangeError(`rq.bench: tokens is a whole number from 1 to ${most}, which is the most that the model takes; not ${tokens}`);
    }
    if (!(seconds >= 0 && seconds <= 60)) throw new RangeError(`rq.bench: seconds is a number from 0 to 60, not ${seconds}`);
    return (await this.#ask('bench', null, { tokens, seconds })).answer;
  }

  async memory() {
    return (await this.#ask('memory', null, {})).answer;
  }

  close() {
    this.#computer.close();
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    this.close();
  }
}
