// What the types promise, as a program that uses them: tsc compiles it, nothing runs it.

import { Rq, RqError, cos_sim, type EntityGroup, type Fill, type TokenEntity } from 'rq-runtime';

export async function uses(file: File): Promise<void> {
  await using_(await Rq.open(file, { onProgress: ({ loaded, total }) => void (loaded / total), sha256: 'ab' }));
  try {
    await Rq.open(new URL('https://example.org/model.rq'), { cache: '2', signal: AbortSignal.timeout(1000), worker: false });
  } catch (error) {
    if (error instanceof RqError && error.code === 'network') throw error;
  }
}

async function using_(rq: Rq): Promise<void> {
  const one: Fill[] | Fill[][] = await rq.fill('<mask>', { top_k: 3, targets: 'a' });
  const vector: Float32Array = await rq.embed('a');
  const vectors: Float32Array[] = await rq.embed(['a', 'b'], { normalize: true });
  const tokens: Float32Array[] = await rq.embed('a', { pooling: 'none' });
  const groups: EntityGroup[] = await rq.tag('a', { aggregation_strategy: 'simple' });
  const places: TokenEntity[] = await rq.tag('a');
  const label: string = (await rq.classify({ text: 'a', text_pair: 'b' }, { top_k: null }))[0].label;
  const best: string = (await rq.answer('a', 'b')).answer;
  const similarity: number = cos_sim(vector, vectors[0]);
  // @ts-expect-error: an option of another task
  await rq.fill('a', { pooling: 'mean' });
  // @ts-expect-error: not a text
  await rq.embed(1);
  // @ts-expect-error: a model is opened
  new Rq();
  rq.close();
  void [one, tokens, groups, places, label, best, similarity];
}
