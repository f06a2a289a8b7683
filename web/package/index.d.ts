/** Something that rq refuses or can't do. What has a wrong JavaScript type is a `TypeError`. */
export class RqError extends Error {
  constructor(code: string, message: string, options?: ErrorOptions);
  name: 'RqError';
  /**
   * What is at fault: `model`, the file; `task`, which isn't what the model is for; `text`; `option`; `checksum`, of another file than is
   * meant; `network`; `memory`; `system`, what the browser or Node lacks; `stopped`, after a fault of rq's own, or `closed`, where the
   * model can't be used any more.
   */
  code: string;
}

/** What a model can be read from. In Node, a string that isn't a URL is a path. */
export type Source = string | URL | Blob | ArrayBufferLike | ArrayBufferView | Response | ReadableStream<Uint8Array>;

export interface Progress {
  /** Bytes so far. */
  loaded: number;
  /** Bytes of the file, as it says itself. */
  total: number;
  /** Whether they come from the cache. */
  cached: boolean;
}

export interface OpenOptions {
  /** Is called as bytes come in. */
  onProgress?: (progress: Progress) => void;
  /** Breaks off. */
  signal?: AbortSignal;
  /**
   * Whether a file from a URL is kept in the browser's Cache Storage, in the cache `rq-runtime`, once it was opened; true by default. A
   * string is the file's version: a file that was kept with another one is downloaded again. In Node nothing is kept.
   */
  cache?: boolean | string;
  /** The file's SHA-256, in hexadecimal: another file is refused. */
  sha256?: string;
  /** Whether every byte is held against the file's own checksums, as `verify` does; without it, only those that say what the file is. */
  verify?: boolean;
  /** Whether a worker computes, so that this thread goes on; true by default. */
  worker?: boolean;
}

/** A token for a mask. */
export interface Fill {
  /** Its probability. */
  score: number;
  /** Its id. */
  token: number;
  /** Its text, with the space before it if it has one. */
  token_str: string;
  /** The text with it in the mask's place; with the special tokens if the text has other masks. */
  sequence: string;
}

export interface FillOptions {
  /** How many tokens; 5 by default. */
  top_k?: number;
  /** Only these tokens: entries of the vocabulary as it writes them, or texts, of which the first token counts. */
  targets?: string | string[];
  /** Whether a text that is too long is cut; otherwise it is an error. */
  truncate?: boolean;
}

export interface TokenScore {
  token: number;
  token_str: string;
  /** The natural logarithm of its probability. */
  logprob: number;
}

/** How probable the model finds a text. */
export interface Score {
  /** The pseudo-log-likelihood, in nats. */
  score: number;
  /** null for a text without tokens. */
  pseudo_perplexity: number | null;
  tokens: TokenScore[];
}

export interface ScoreOptions {
  /** What is masked to score a token: itself (Salazar et al. 2020), or the later tokens of its word as well (Kauf and Ivanova 2023). */
  method?: 'original' | 'within_word_l2r';
  truncate?: boolean;
}

export type Pooling = 'cls' | 'mean' | 'max' | 'mean_sqrt_len_tokens' | 'weightedmean' | 'lasttoken';

export interface EmbedOptions {
  /** By default what the model's publisher says; where that is nothing, `mean`. `none` is an embedding for each token. */
  pooling?: Pooling | 'none';
  /** Whether an embedding is divided by its length; by default what the publisher says. */
  normalize?: boolean;
  /** How many dimensions to keep, the first ones. */
  truncate_dim?: number;
  /** The name of a prompt that the model's file has. */
  prompt_name?: string;
  /** What is put before each text. */
  prompt?: string;
  truncate?: boolean;
}

export interface SimilarOptions extends EmbedOptions {
  pooling?: Pooling;
  /** How many texts; 10 by default. */
  top_k?: number;
}

/** A text that is similar to another, as sentence-transformers' `semantic_search` has it. */
export interface Similar {
  /** Its place among the texts, from 0. */
  corpus_id: number;
  /** The cosine of the embeddings. */
  score: number;
}

export interface Label {
  label: string;
  score: number;
}

/** Two texts that are classified together. */
export interface TextPair {
  text: string;
  text_pair?: string;
}

export interface ClassifyOptions {
  /** How many labels; 1 by default, all with null. */
  top_k?: number | null;
  /** What makes scores of the logits; by default the model's own. */
  function_to_apply?: 'softmax' | 'sigmoid' | 'none';
  truncate?: boolean;
}

/** A text, and labels by descending score. */
export interface ZeroShotLabels {
  sequence: string;
  labels: string[];
  scores: number[];
}

export interface ZeroShotOptions {
  /** A sentence about a label, which takes the place of `{}`; "This example is {}." by default. */
  hypothesis_template?: string;
  /** Whether each label has a probability of its own; otherwise those of all sum to 1. */
  multi_label?: boolean;
  truncate?: boolean;
}

/** Places count UTF-16 code units, as JavaScript does: `text.slice(start, end)`. */
interface Place {
  score: number;
  word: string;
  start: number;
  end: number;
}

/** A token and its label. */
export interface TokenEntity extends Place {
  entity: string;
  /** Its place among the text's tokens. */
  index: number;
}

/** What neighbouring tokens make up. */
export interface EntityGroup extends Place {
  entity_group: string;
}

export interface TagOptions {
  /** What makes up an entity; `none` by default: each token by itself. */
  aggregation_strategy?: 'none' | 'simple' | 'first' | 'average' | 'max';
  /** Tokens that the windows over a long text share, each with its own entities, as transformers does. */
  stride?: number;
  /** Labels that aren't answered; `["O"]` by default. */
  ignore_labels?: string[];
}

/** An answer, and its place in the context in UTF-16 code units. */
export interface Answer {
  score: number;
  start: number;
  end: number;
  /** Empty if the context has no answer. */
  answer: string;
}

export interface AnswerOptions {
  /** How many answers; 1 by default. */
  top_k?: number;
  /** Tokens of an answer, at most; 15 by default. */
  max_answer_len?: number;
  /** Tokens of a window over a long context. */
  max_seq_len?: number;
  /** Tokens that windows share. */
  doc_stride?: number;
  /** Whether the answer may be that there is none. */
  handle_impossible_answer?: boolean;
  /** Whether an answer is whole words; true by default. */
  align_to_words?: boolean;
}

/** What a file is. */
export interface Info {
  /** What the model is for, as transformers names it. */
  task: 'fill-mask' | 'text-classification' | 'token-classification' | 'question-answering' | 'feature-extraction';
  /** The labels of a classifier or tagger, in the order of its outputs. */
  labels: string[];
  /** The most tokens of a text, the special ones included. */
  max_tokens: number;
  /** What stands for a word that is to be filled in; null in a model without. */
  mask_token: string | null;
  /** The file's length. */
  bytes: number;
  /** What tells it apart from other files. */
  fingerprint: string;
  parameters: number;
  /** The instruction set that computes: `simd128` or `relaxed`. The results have the same bits with each. */
  instruction_set: string;
  /** The configuration in the file, as `rq info --json` prints it. */
  config: Record<string, unknown>;
  /** Where the file comes from, as `rq info --json` prints it. */
  provenance: Record<string, unknown>;
}

export interface BenchOptions {
  /** Tokens of the text; 128 by default. */
  tokens?: number;
  /** For how long; 1 by default. */
  seconds?: number;
}

/** How long a pass over a text took, in milliseconds. */
export interface Bench {
  tokens: number;
  passes: number;
  least: number;
  median: number;
}

/**
 * A model. A text has a result, an array of texts an array of them; results have the same bits on every machine, and among any other
 * texts. Each method waits for those that were called before.
 */
export class Rq {
  private constructor();
  /** Opens a model: its bytes go straight into the memory that computes. */
  static open(source: Source, options?: OpenOptions): Promise<Rq>;
  /** What the file is. */
  readonly info: Info;
  /** Tokens for the mask, by descending probability; of a text with several masks, a list for each. */
  fill(text: string, options?: FillOptions): Promise<Fill[] | Fill[][]>;
  fill(texts: string[], options?: FillOptions): Promise<(Fill[] | Fill[][])[]>;
  /** Scores a text by how probable a masked language model finds it. */
  score(text: string, options?: ScoreOptions): Promise<Score>;
  score(texts: string[], options?: ScoreOptions): Promise<Score[]>;
  /** An embedding of a text; with the pooling `none`, or a model that is meant so, one for each of its tokens. */
  embed(text: string, options: EmbedOptions & { pooling: 'none' }): Promise<Float32Array[]>;
  embed(texts: string[], options: EmbedOptions & { pooling: 'none' }): Promise<Float32Array[][]>;
  embed(text: string, options?: EmbedOptions): Promise<Float32Array>;
  embed(texts: string[], options?: EmbedOptions): Promise<Float32Array[]>;
  /** The texts that are most similar to another one. */
  similar(query: string, texts: string[], options?: SimilarOptions): Promise<Similar[]>;
  /** The best labels of a text, or of two texts together. */
  classify(text: string | TextPair, options?: ClassifyOptions): Promise<Label[]>;
  classify(texts: (string | TextPair)[], options?: ClassifyOptions): Promise<Label[][]>;
  /** Labels of one's own, with a model for natural language inference. In a string, they are separated by commas. */
  zeroShot(text: string, labels: string | string[], options?: ZeroShotOptions): Promise<ZeroShotLabels>;
  zeroShot(texts: string[], labels: string | string[], options?: ZeroShotOptions): Promise<ZeroShotLabels[]>;
  /** The entities of a text, or its tokens. A long text is read in windows that overlap. */
  tag(text: string, options: TagOptions & { aggregation_strategy: 'simple' | 'first' | 'average' | 'max' }): Promise<EntityGroup[]>;
  tag(texts: string[], options: TagOptions & { aggregation_strategy: 'simple' | 'first' | 'average' | 'max' }): Promise<EntityGroup[][]>;
  tag(text: string, options?: TagOptions): Promise<TokenEntity[]>;
  tag(texts: string[], options?: TagOptions): Promise<TokenEntity[][]>;
  /** The best answer that a text has to a question; with `top_k` above 1, a list of the best. */
  answer(question: string, context: string, options?: AnswerOptions & { top_k?: 1 }): Promise<Answer>;
  answer(question: string, context: string, options: AnswerOptions): Promise<Answer | Answer[]>;
  /** Holds every byte of the file against its checksums. */
  verify(): Promise<void>;
  /** Times the encoder. */
  bench(options?: BenchOptions): Promise<Bench>;
  /** Bytes of memory that the model holds, the file included. */
  memory(): Promise<number>;
  /** Ends the worker, and gives the memory back. What wasn't answered yet is refused. */
  close(): void;
  [Symbol.dispose](): void;
}

/** The cosine of the angle between two embeddings, from -1 to 1: 0 where one has no length. */
export function cos_sim(a: ArrayLike<number>, b: ArrayLike<number>): number;
