// Runs a WASI program in Node, as cargo's runner does: node [FLAGS] .ci/wasi.mjs PROGRAM.wasm [ARGUMENTS]
//
// It sees all files, and the environment.

import { readFile } from 'node:fs/promises';
import process from 'node:process';

process.removeAllListeners('warning'); // that WASI is experimental
const { WASI } = await import('node:wasi');

const args = process.argv.slice(2);
const wasi = new WASI({
  version: 'preview1',
  args,
  env: process.env,
  preopens: { '/': '/' },
  returnOnExit: true,
});
const module = await WebAssembly.compile(await readFile(args[0]));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
process.exitCode = wasi.start(instance);
