// @ts-check
// What Node has and a browser hasn't, and the other way round.

/**
 * One of Node's own modules; undefined in a browser. No import, so that a bundler for browsers has nothing to resolve.
 * @param {string} name
 * @returns {any}
 */
export function builtin(name) {
  return /** @type {any} */ (globalThis).process?.getBuiltinModule?.(name);
}

/** Whether this is Node, or a program that is like it. */
export const isNode = builtin('node:worker_threads') !== undefined;

/**
 * Calls `hear` with each message that comes from the other side.
 * @param {any} port a Worker, or within one the port to its owner
 * @param {(message: any) => void} hear
 */
export function listen(port, hear) {
  if (port.on) port.on('message', hear);
  else port.addEventListener('message', (/** @type {MessageEvent} */ event) => hear(event.data));
}
