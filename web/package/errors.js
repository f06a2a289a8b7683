// @ts-check
// Errors, and what crosses from a worker in their place.

/**
 * Something that rq refuses or can't do. `code` says what is at fault, for programs; `message` what is wrong, where, and what to do
 * about it, for people.
 */
export class RqError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = 'RqError';
    /** @type {string} */
    this.code = code;
  }
}

/**
 * An error as a message can carry it.
 * @param {unknown} error
 */
export function packed(error) {
  if (error instanceof RqError) return { code: error.code, message: error.message };
  const { name = 'Error', message = String(error) } = /** @type {Partial<Error>} */ (error ?? {});
  return { name, message };
}

/**
 * The error of such a message.
 * @param {{code?: string, name?: string, message: string}} error
 */
export function unpacked({ code, name, message }) {
  if (code !== undefined) return new RqError(code, message);
  if (name === 'TypeError') return new TypeError(message);
  if (name === 'AbortError') return new DOMException(message, name);
  return Object.assign(new Error(message), { name });
}
