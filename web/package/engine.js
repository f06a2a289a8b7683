// @ts-check
// A model in the memory of a WebAssembly module, and requests about it. The other side of `src/boundary.rs`. It computes on the thread
// that it is called on.

import { RqError } from './errors.js';
import { bestModule } from './module.js';
import { PIECE, opened } from './source.js';

/**
 * @typedef {object} Exports
 * @property {WebAssembly.Memory} memory
 * @property {() => void} begin
 * @property {(length: number) => number} room
 * @property {(start: number, length: number) => void} give_back
 * @property {() => number} start_len
 * @property {(start: number, length: number) => number} announced_len
 * @property {(start: number, length: number, options: number, optionsLength: number) => number} open
 * @property {(start: number, length: number) => number} call
 * @property {() => number} result
 * @property {() => number} result_len
 * @property {() => number} floats
 * @property {() => number} floats_len
 */

/** @typedef {{task: string, inputs?: unknown, options?: unknown}} Request */
/** @typedef {{answer: any, warnings: string[], floats: Float32Array}} Answer */

export class Engine {
  /** @type {Exports | undefined} */
  #exports;
  /** Why it can't be used any more. */
  #ended = '';
  /** What a panic says. */
  #panic = '';
  /** Where the file is in memory. */
  #file = { start: 0, length: 0 };

  /**
   * Opens a model.
   * @param {import('./source.js').Source} source
   * @param {{cache?: boolean | string, sha256?: string, verify?: boolean, signal?: AbortSignal}} options
   * @param {(progress: {loaded: number, total: number, cached: boolean}) => void} onProgress
   * @returns {Promise<Engine>}
   */
  static async open(source, { cache, signal, ...options }, onProgress) {
    // While the first bytes of the model come in.
    const module = bestModule();
    module.catch(() => {});
    return opened(source, { cache, signal }, async (pieces, cached) => {
      const engine = new Engine();
      await engine.#start(await module);
      await engine.#read(pieces, options, (loaded, total) => {
        signal?.throwIfAborted();
        onProgress({ loaded, total, cached });
      });
      return engine;
    });
  }

  /** @param {WebAssembly.Module} module */
  async #start(module) {
    const page = {
      random: (/** @type {number} */ start, /** @type {number} */ length) => {
        crypto.getRandomValues(this.#bytes(start, length));
      },
      panicked: (/** @type {number} */ start, /** @type {number} */ length) => {
        this.#panic = this.#text(start, length);
      },
    };
    const { exports } = await WebAssembly.instantiate(module, { page });
    this.#exports = /** @type {any} */ (exports);
    this.#run(({ begin }) => begin());
  }

  /**
   * Runs the module's code. If that breaks off, by a panic or because there is no memory, the module can't go on: what it was about is
   * in no known state.
   * @template T
   * @param {(exports: Exports) => T} code
   * @returns {T}
   */
  #run(code) {
    if (!this.#exports) throw new RqError('closed', this.#ended);
    try {
      return code(this.#exports);
    } catch (error) {
      if (error instanceof RqError) throw error;
      const why = this.#panic || `${/** @type {Error} */ (error).message}, with ${this.memory} bytes of memory in use`;
      this.#exports = undefined;
      this.#ended = `the model stopped before, and can't be used any more (${why}): open it again`;
      throw new RqError('stopped', `the model stopped, and can't be used any more: ${why}`, { cause: error });
    }
  }

  /**
   * @param {number} start
   * @param {number} length
   */
  #bytes(start, length) {
    return new Uint8Array(/** @type {Exports} */ (this.#exports).memory.buffer, start, length);
  }

  /**
   * @param {number} start
   * @param {number} length
   */
  #text(start, length) {
    return new TextDecoder().decode(this.#bytes(start, length));
  }

  /**
   * @param {number} length
   * @param {string} what
   */
  #room(length, what) {
    const start = length < 2 ** 32 - 2 ** 16 ? this.#run(({ room }) => room(length)) : 0;
    if (start === 0) {
      const megabytes = (length / 1e6).toFixed(1);
      throw new RqError('memory', `${what} takes ${megabytes} MB of memory, and that can't be had: close other models, or take a smaller one`);
    }
    return start;
  }

  /**
   * Hands bytes over to `code`.
   * @template T
   * @param {Uint8Array} bytes
   * @param {(start: number, length: number, exports: Exports) => T} code
   */
  #with(bytes, code) {
    const start = this.#room(bytes.length, 'a request');
    this.#bytes(start, bytes.length).set(bytes);
    return this.#run((exports) => {
      const result = code(start, bytes.length, exports);
      exports.give_back(start, bytes.length);
      return result;
    });
  }

  /** What the last call says: JSON. */
  #result() {
    const [start, length] = this.#run(({ result, result_len }) => [result(), result_len()]);
    return JSON.parse(this.#text(start, length));
  }

  #refusal() {
    const { code, message } = this.#result();
    return new RqError(code, message);
  }

  /**
   * Reads the file straight into the module's memory, and opens it.
   * @param {import('./source.js').Pieces} pieces
   * @param {object} options
   * @param {(loaded: number, total: number) => void} onProgress
   */
  async #read(pieces, options, onProgress) {
    const wanted = this.#run(({ start_len }) => start_len());
    let head = new Uint8Array();
    let [start, total, loaded] = [0, 0, 0];
    const begin = () => {
      total = this.#with(head, (at, length, { announced_len }) => announced_len(at, length));
      if (total < 0) throw this.#refusal();
      start = this.#room(total, 'this model');
    };
    for await (let piece of pieces) {
      if (total === 0) {
        const joined = new Uint8Array(head.length + piece.length);
        joined.set(head);
        joined.set(piece, head.length);
        head = piece = joined;
        if (head.length < wanted) continue;
        begin();
      }
      if (loaded + piece.length > total) {
        throw new RqError('model', `the file goes on behind the ${total} bytes that its header announces: it isn't the file that was written`);
      }
      this.#bytes(start + loaded, piece.length).set(piece);
      loaded += piece.length;
      onProgress(loaded, total);
    }
    // A file that is too short is refused by its header, or because it doesn't have the length that the header says.
    if (total === 0) begin();
    const json = new TextEncoder().encode(JSON.stringify(options));
    const succeeded = this.#with(json, (at, length, { open }) => open(start, loaded, at, length));
    if (!succeeded) throw this.#refusal();
    this.#file = { start, length: loaded };
  }

  /**
   * The bytes of the file.
   * @returns {import('./source.js').Pieces}
   */
  async *file() {
    const { start, length } = this.#file;
    for (let at = 0; at < length && this.#exports; at += PIECE) {
      yield this.#bytes(start + at, Math.min(PIECE, length - at)).slice();
    }
  }

  /** Bytes that the module holds. */
  get memory() {
    return this.#exports?.memory.buffer.byteLength ?? 0;
  }

  /**
   * Answers to a request.
   * @param {Request} request
   * @returns {Answer}
   */
  call({ task, inputs = null, options = {} }) {
    if (task === 'memory') return { answer: this.memory, warnings: [], floats: new Float32Array() };
    if (task === 'bench') return { answer: this.#bench(/** @type {any} */ (options)), warnings: [], floats: new Float32Array() };
    const json = new TextEncoder().encode(JSON.stringify({ task, inputs, options }));
    if (!this.#with(json, (start, length, { call }) => call(start, length))) throw this.#refusal();
    const [start, length] = this.#run(({ floats, floats_len }) => [floats(), floats_len()]);
    const floats = length === 0 ? new Float32Array() : new Float32Array(/** @type {Exports} */ (this.#exports).memory.buffer, start, length).slice();
    return { ...this.#result(), floats };
  }

  /**
   * Times passes over so many tokens: one to warm up, then for so many seconds, three at least.
   * @param {{tokens: number, seconds: number}} options
   */
  #bench({ tokens, seconds }) {
    const times = [];
    const pass = () => {
      const start = performance.now();
      this.call({ task: 'pass', options: { tokens } });
      return performance.now() - start;
    };
    pass();
    for (let total = 0; total < seconds * 1000 || times.length < 3; total += times[times.length - 1]) times.push(pass());
    times.sort((a, b) => a - b);
    return { tokens, passes: times.length, least: times[0], median: times[times.length >> 1] };
  }

  /** Lets the memory go. */
  close() {
    this.#exports = undefined;
    this.#ended = 'the model is closed: open it again';
  }
}
