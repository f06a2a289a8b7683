// Prints the SHA-256 of what a model computes, and the instruction set: a program of its own, for flags that belong to a process.

import { Rq } from 'rq-runtime';
import { sha256 } from './common.js';

const [model, ...texts] = process.argv.slice(2);
const rq = await Rq.open(model, { worker: false });
const hidden = (await rq.embed(texts, { pooling: 'none', truncate: true })).flat();
console.log(rq.info.instruction_set, sha256(...hidden));
