// @ts-check
// The thread that computes, in a browser or in Node: an engine, told by messages what to do.

import { Engine } from './engine.js';
import { packed } from './errors.js';
import { builtin, isNode, listen } from './platform.js';

const port = isNode ? builtin('node:worker_threads').parentPort : globalThis;

/** @type {Engine | undefined} */
let engine;
/** Gets the next piece of a file that the page reads itself. @type {(piece: Uint8Array | undefined) => void} */
let hand;

/** @returns {import('./source.js').Pieces} */
async function* handed() {
  for (;;) {
    const piece = await new Promise((resolve) => {
      hand = resolve;
      port.postMessage({ type: 'more' });
    });
    if (piece === undefined) return;
    yield piece;
  }
}

/** @param {any} message */
async function answer({ type, source, options, request }) {
  if (type === 'open') {
    let last = 0;
    engine = await Engine.open(source ?? { pieces: handed() }, options, (progress) => {
      // A message for each of thousands of pieces would keep the page busy.
      const now = performance.now();
      if (now - last < 30 && progress.loaded < progress.total) return;
      last = now;
      port.postMessage({ type: 'progress', progress });
    });
    return { answer: null, warnings: [], floats: new Float32Array() };
  }
  return /** @type {Engine} */ (engine).call(request);
}

listen(port, async (message) => {
  if (message.type === 'piece') return hand(message.piece);
  try {
    const result = await answer(message);
    port.postMessage({ type: 'answer', id: message.id, result }, [result.floats.buffer]);
  } catch (error) {
    port.postMessage({ type: 'error', id: message.id, error: packed(error) });
  }
});
