/*
 * rq in C: RoBERTa and its family on a device.
 *
 * Made of capi/src by cbindgen. Don't edit it: `UPDATE_HEADER=1 cargo test --release -p rq-capi header` writes it anew.
 *
 * - A function that can fail returns an rq_status. Its results go through its last parameters, which are written only when it
 *   returns RQ_OK.
 * - Strings are UTF-8 with a length. Strings that rq returns are also followed by a NUL.
 * - Options begin with their size, which tells versions of a structure apart, and 0 is the default of each: write
 *   `rq_fill_options options = {.size = sizeof options, .top_k = 3};`, or NULL for all defaults. A size that is none, and an
 *   option that the library is too old for, are RQ_OPTION.
 * - What ends in _batch takes several texts and is RQ_OK where each has a result: an answer, or a status and a message of its own.
 *   Only what is wrong for all of them, such as an option, is the status of the call. An answer doesn't depend on the batch.
 * - Whatever has a _new or an _open has a _free. Models and sessions can be freed in any order.
 * - Threads may share a model. Only one thread at a time may use a session: another gets RQ_BUSY.
 * - The processor's settings for floats (rounding, subnormal numbers) are the defaults within a call, and the caller's after it.
 * - After fork, a session of several threads gives RQ_OPTION in the child, which has no such threads: make one there. Models, and
 *   sessions of one thread, work on both sides.
 * - No function calls back. None prints, but for bugs of its own; none reads the environment, but for RQ_ISA; none starts a
 *   thread, but rq_session_new.
 * - A pointer is NULL where its comment allows it, or points to what the comment says, for as long as the length beside it says.
 *   Nothing is used after it was freed. NULL where it isn't allowed is RQ_NULL; the rest can't be checked.
 */


#ifndef RQ_H
#define RQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The version of this interface: what a program was compiled against (`RQ_ABI_VERSION`) must be what `rq_abi_version`
 * returns. It grows with every change that an existing program would notice.
 */
#define RQ_ABI_VERSION 1

/**
 * Bytes of a message, the final NUL included.
 */
#define RQ_MESSAGE_SIZE 512

/**
 * The result of a call. Codes never change their numbers.
 */
typedef enum rq_status {
  /**
   * Success.
   */
  RQ_OK = 0,
  /**
   * A pointer that must not be NULL is NULL.
   */
  RQ_NULL = 1,
  /**
   * A string isn't UTF-8.
   */
  RQ_NOT_UTF8 = 2,
  /**
   * The operating system refused: no such file, no rights, no threads.
   */
  RQ_IO = 3,
  /**
   * The file isn't a model, or it is damaged.
   */
  RQ_DAMAGED = 4,
  /**
   * A newer version of rq made the file.
   */
  RQ_NEWER_VERSION = 5,
  /**
   * The model's head is for another task.
   */
  RQ_WRONG_HEAD = 6,
  /**
   * The text can't be answered: it is empty, or has no mask; or the question or the context is empty.
   */
  RQ_TEXT = 7,
  /**
   * The text has more tokens than the model takes.
   */
  RQ_TOO_LONG = 8,
  /**
   * An option has an invalid value.
   */
  RQ_OPTION = 9,
  /**
   * The caller's buffer is too small; the needed length was written to where the call says.
   */
  RQ_BUFFER = 10,
  /**
   * Another thread uses the session.
   */
  RQ_BUSY = 11,
  /**
   * A bug in rq. The session stays usable.
   */
  RQ_PANIC = 12,
} rq_status;

/**
 * What a model's head computes, which decides what the model is for.
 */
typedef enum rq_head {
  /**
   * No head: for `rq_embed`, as any model is.
   */
  RQ_HEAD_NONE = 0,
  /**
   * For `rq_fill` and `rq_score`.
   */
  RQ_HEAD_MASKED_LM = 1,
  /**
   * For `rq_classify`, and where the labels are those of entailment for `rq_zero_shot`.
   */
  RQ_HEAD_SEQUENCE_CLASSIFICATION = 2,
  /**
   * For `rq_tag`.
   */
  RQ_HEAD_TOKEN_CLASSIFICATION = 3,
  /**
   * For `rq_answer`.
   */
  RQ_HEAD_QUESTION_ANSWERING = 4,
} rq_head;

/**
 * How hidden states become an embedding.
 */
typedef enum rq_pooling {
  /**
   * As the model's publisher says, else the mean.
   */
  RQ_POOLING_MODEL = 0,
  /**
   * The first token's.
   */
  RQ_POOLING_CLS = 1,
  /**
   * The mean over all tokens.
   */
  RQ_POOLING_MEAN = 2,
  /**
   * The largest in each dimension.
   */
  RQ_POOLING_MAX = 3,
  /**
   * The sum over all tokens, divided by the square root of their number.
   */
  RQ_POOLING_MEAN_SQRT_LEN = 4,
  /**
   * The mean over all tokens, each with the weight of its position.
   */
  RQ_POOLING_WEIGHTED_MEAN = 5,
  /**
   * The last token's.
   */
  RQ_POOLING_LAST_TOKEN = 6,
} rq_pooling;

/**
 * Whether an embedding is scaled to length 1.
 */
typedef enum rq_normalize {
  /**
   * As the model's publisher says, else not.
   */
  RQ_NORMALIZE_MODEL = 0,
  /**
   * It is.
   */
  RQ_NORMALIZE_YES = 1,
  /**
   * It isn't.
   */
  RQ_NORMALIZE_NO = 2,
} rq_normalize;

/**
 * How a classifier's logits become scores.
 */
typedef enum rq_function {
  /**
   * As the model's configuration says.
   */
  RQ_FUNCTION_MODEL = 0,
  /**
   * Softmax: probabilities of labels that exclude each other.
   */
  RQ_FUNCTION_SOFTMAX = 1,
  /**
   * Sigmoid: for each label, the probability that it applies.
   */
  RQ_FUNCTION_SIGMOID = 2,
  /**
   * The logits.
   */
  RQ_FUNCTION_NONE = 3,
} rq_function;

/**
 * How tagged tokens become entities.
 */
typedef enum rq_aggregation {
  /**
   * Neighbours with the same label are one entity.
   */
  RQ_AGGREGATION_SIMPLE = 0,
  /**
   * The same, with each word taking the label of its first token.
   */
  RQ_AGGREGATION_FIRST = 1,
  /**
   * The same, with each word taking the label that is best on the mean of its tokens.
   */
  RQ_AGGREGATION_AVERAGE = 2,
  /**
   * The same, with each word taking the label of its most certain token.
   */
  RQ_AGGREGATION_MAX = 3,
  /**
   * Each token is an entity.
   */
  RQ_AGGREGATION_NONE = 4,
} rq_aggregation;

/**
 * What is masked to score a token.
 */
typedef enum rq_score_method {
  /**
   * The token alone (Salazar et al. 2020).
   */
  RQ_SCORE_ORIGINAL = 0,
  /**
   * Also the later tokens of its word (Kauf and Ivanova 2023).
   */
  RQ_SCORE_WITHIN_WORD_L2R = 1,
} rq_score_method;

/**
 * A model. It can be shared by threads, and by sessions, which keep it alive.
 */
typedef struct rq_model rq_model;

/**
 * A session: the threads and the memory with which a model computes. One thread at a time may use it.
 */
typedef struct rq_session rq_session;

/**
 * A message for a person: UTF-8, NUL-terminated, cut if it is too long.
 */
typedef struct rq_message {
  /**
   * The text.
   */
  char text[RQ_MESSAGE_SIZE];
} rq_message;

/**
 * A string that rq owns: `len` bytes of UTF-8, followed by a NUL.
 */
typedef struct rq_string {
  /**
   * The bytes.
   */
  const char *data;
  /**
   * Its length in bytes, without the NUL.
   */
  size_t len;
} rq_string;

/**
 * How long a text is in tokens.
 */
typedef struct rq_token_count {
  /**
   * The tokens of the whole text, special ones included.
   */
  size_t tokens;
  /**
   * Those that are left where the text is cut to what the model takes: as many, unless it is too long.
   */
  size_t truncated;
  /**
   * The most that the model takes: `rq_model_max_tokens`.
   */
  size_t max;
} rq_token_count;

/**
 * How a session computes. None of it changes an answer.
 */
typedef struct rq_session_options {
  /**
   * `sizeof(rq_session_options)`.
   */
  size_t size;
  /**
   * Threads, at most 1024; 0 for one per processor. With 1, no thread is started: everything runs on the caller's.
   */
  size_t threads;
} rq_session_options;

/**
 * How to answer questions.
 */
typedef struct rq_answer_options {
  /**
   * `sizeof(rq_answer_options)`.
   */
  size_t size;
  /**
   * How many answers, at most; 0 for 1.
   */
  size_t top_k;
  /**
   * The longest answer in tokens; 0 for 15.
   */
  size_t max_answer_len;
  /**
   * Whether the context may hold no answer, which is then an empty one: 0 for no.
   */
  uint8_t handle_impossible_answer;
} rq_answer_options;

/**
 * An answer: a part of the context.
 */
typedef struct rq_answer_span {
  /**
   * The part.
   */
  struct rq_string answer;
  /**
   * How certain it is.
   */
  float score;
  /**
   * Where it starts in the context, in bytes.
   */
  size_t start;
  /**
   * Where it ends.
   */
  size_t end;
  /**
   * The same in characters (Unicode code points).
   */
  size_t start_character;
  /**
   * The end in characters.
   */
  size_t end_character;
} rq_answer_span;

/**
 * Answers by descending score.
 */
typedef struct rq_answer_list {
  /**
   * The answers.
   */
  const struct rq_answer_span *items;
  /**
   * Their number.
   */
  size_t len;
} rq_answer_list;

/**
 * A text of the caller's, of which a batch has several: `len` bytes of UTF-8, which needn't end with a NUL.
 */
typedef struct rq_text {
  /**
   * The bytes. Where there are none, it may be NULL.
   */
  const char *data;
  /**
   * Their number.
   */
  size_t len;
} rq_text;

/**
 * What became of a question of a batch.
 */
typedef struct rq_answer_result {
  /**
   * Whether the question has an answer.
   */
  enum rq_status status;
  /**
   * Why it has none; else empty.
   */
  struct rq_string message;
  /**
   * The answer: what `rq_answer` gives, byte for byte.
   */
  struct rq_answer_list answer;
} rq_answer_result;

/**
 * A result for each question of a batch, in their order.
 */
typedef struct rq_answer_results {
  /**
   * The results.
   */
  const struct rq_answer_result *items;
  /**
   * Their number.
   */
  size_t len;
} rq_answer_results;

/**
 * How to classify.
 */
typedef struct rq_classify_options {
  /**
   * `sizeof(rq_classify_options)`.
   */
  size_t size;
  /**
   * How many labels, at most; 0 for all.
   */
  size_t top_k;
  /**
   * An `rq_function`.
   */
  int32_t function;
  /**
   * Whether to cut texts that are too long at their end: 0 refuses them.
   */
  uint8_t truncate;
} rq_classify_options;

/**
 * A label of a text.
 */
typedef struct rq_label {
  /**
   * Its name.
   */
  struct rq_string label;
  /**
   * Its number, as in `rq_model_label`, or in the labels that were given.
   */
  size_t index;
  /**
   * Its score.
   */
  float score;
} rq_label;

/**
 * Labels by descending score.
 */
typedef struct rq_label_list {
  /**
   * The labels.
   */
  const struct rq_label *items;
  /**
   * Their number.
   */
  size_t len;
} rq_label_list;

/**
 * What became of a text of a batch.
 */
typedef struct rq_label_result {
  /**
   * Whether the text has an answer.
   */
  enum rq_status status;
  /**
   * Why it has none; else empty.
   */
  struct rq_string message;
  /**
   * The answer: what a call for this text alone gives, byte for byte.
   */
  struct rq_label_list answer;
} rq_label_result;

/**
 * A result for each text of a batch, in their order.
 */
typedef struct rq_label_results {
  /**
   * The results.
   */
  const struct rq_label_result *items;
  /**
   * Their number.
   */
  size_t len;
} rq_label_results;

/**
 * How to embed. Enumerations are passed as numbers, so that every value can be checked.
 */
typedef struct rq_embed_options {
  /**
   * `sizeof(rq_embed_options)`.
   */
  size_t size;
  /**
   * An `rq_pooling`.
   */
  int32_t pooling;
  /**
   * An `rq_normalize`.
   */
  int32_t normalize;
  /**
   * How many dimensions to keep, the first ones; 0 keeps all. What is left is scaled to length 1 again if the whole was.
   */
  size_t dimension;
  /**
   * The name of a prompt of the model, UTF-8 that ends with a zero, or NULL for the one that its publisher says.
   */
  const char *prompt;
  /**
   * What to put before the text in place of a prompt of the model, UTF-8 that ends with a zero: "" is nothing, NULL leaves it
   * to `prompt`.
   */
  const char *prompt_text;
  /**
   * Whether to cut a text that is too long, at the end that the model's publisher says: 0 refuses it.
   */
  uint8_t truncate;
} rq_embed_options;

/**
 * What became of a text of a batch.
 */
typedef struct rq_embedding_result {
  /**
   * Whether the text has an embedding.
   */
  enum rq_status status;
  /**
   * Why it has none; else empty.
   */
  struct rq_string message;
  /**
   * The embedding: what `rq_embed` gives, byte for byte.
   */
  const float *values;
  /**
   * Its length; 0 where there is none.
   */
  size_t len;
} rq_embedding_result;

/**
 * A result for each text of a batch, in their order.
 */
typedef struct rq_embedding_results {
  /**
   * The results.
   */
  const struct rq_embedding_result *items;
  /**
   * Their number.
   */
  size_t len;
} rq_embedding_results;

/**
 * How to fill masks.
 */
typedef struct rq_fill_options {
  /**
   * `sizeof(rq_fill_options)`.
   */
  size_t size;
  /**
   * How many tokens for each mask, at most; 0 for 5.
   */
  size_t top_k;
  /**
   * Whether to cut a text that is too long at its end: 0 refuses it.
   */
  uint8_t truncate;
} rq_fill_options;

/**
 * A token for a mask.
 */
typedef struct rq_fill_token {
  /**
   * Which mask of the text, from 0.
   */
  size_t mask;
  /**
   * The token's probability, from 0 to 1.
   */
  float score;
  /**
   * The token's id.
   */
  uint32_t token;
  /**
   * The token's text, with the space before it if it has one.
   */
  struct rq_string token_str;
  /**
   * The text with this token in the mask's place; with the special tokens if it has other masks.
   */
  struct rq_string sequence;
} rq_fill_token;

/**
 * The best tokens, mask after mask, each by descending score.
 */
typedef struct rq_fill_list {
  /**
   * The tokens.
   */
  const struct rq_fill_token *items;
  /**
   * Their number.
   */
  size_t len;
  /**
   * Masks of the text.
   */
  size_t masks;
} rq_fill_list;

/**
 * What became of a text of a batch.
 */
typedef struct rq_fill_result {
  /**
   * Whether the text has an answer.
   */
  enum rq_status status;
  /**
   * Why it has none; else empty.
   */
  struct rq_string message;
  /**
   * The answer: what `rq_fill` gives, byte for byte.
   */
  struct rq_fill_list answer;
} rq_fill_result;

/**
 * A result for each text of a batch, in their order.
 */
typedef struct rq_fill_results {
  /**
   * The results.
   */
  const struct rq_fill_result *items;
  /**
   * Their number.
   */
  size_t len;
} rq_fill_results;

/**
 * How to score.
 */
typedef struct rq_score_options {
  /**
   * `sizeof(rq_score_options)`.
   */
  size_t size;
  /**
   * An `rq_score_method`.
   */
  int32_t method;
  /**
   * Whether to cut a text that is too long at its end: 0 refuses it.
   */
  uint8_t truncate;
} rq_score_options;

/**
 * How probable the model finds a token.
 */
typedef struct rq_token_score {
  /**
   * The token's id.
   */
  uint32_t token;
  /**
   * The token's text, with the space before it if it has one.
   */
  struct rq_string token_str;
  /**
   * The natural logarithm of its probability over the whole vocabulary.
   */
  double log_probability;
} rq_token_score;

/**
 * How probable the model finds a text.
 */
typedef struct rq_score_list {
  /**
   * All tokens but those that are put around a text.
   */
  const struct rq_token_score *items;
  /**
   * Their number.
   */
  size_t len;
  /**
   * The pseudo-log-likelihood in nats: the sum over the tokens.
   */
  double total;
  /**
   * `exp(-total / len)`; NaN for a text without tokens.
   */
  double pseudo_perplexity;
} rq_score_list;

/**
 * What became of a text of a batch.
 */
typedef struct rq_score_result {
  /**
   * Whether the text has a score.
   */
  enum rq_status status;
  /**
   * Why it has none; else empty.
   */
  struct rq_string message;
  /**
   * The score: what `rq_score` gives, byte for byte.
   */
  struct rq_score_list answer;
} rq_score_result;

/**
 * A result for each text of a batch, in their order.
 */
typedef struct rq_score_results {
  /**
   * The results.
   */
  const struct rq_score_result *items;
  /**
   * Their number.
   */
  size_t len;
} rq_score_results;

/**
 * How to tag.
 */
typedef struct rq_tag_options {
  /**
   * `sizeof(rq_tag_options)`.
   */
  size_t size;
  /**
   * An `rq_aggregation`.
   */
  int32_t aggregation;
} rq_tag_options;

/**
 * A tagged part of a text.
 */
typedef struct rq_entity {
  /**
   * What it is.
   */
  struct rq_string label;
  /**
   * How certain that is, from 0 to 1.
   */
  float score;
  /**
   * The part, as the tokenizer writes its tokens.
   */
  struct rq_string word;
  /**
   * Where it starts in the text, in bytes.
   */
  size_t start;
  /**
   * Where it ends.
   */
  size_t end;
  /**
   * The same in characters (Unicode code points).
   */
  size_t start_character;
  /**
   * The end in characters.
   */
  size_t end_character;
} rq_entity;

/**
 * Entities in the order of the text.
 */
typedef struct rq_entity_list {
  /**
   * The entities.
   */
  const struct rq_entity *items;
  /**
   * Their number.
   */
  size_t len;
} rq_entity_list;

/**
 * What became of a text of a batch.
 */
typedef struct rq_entity_result {
  /**
   * Whether the text has an answer.
   */
  enum rq_status status;
  /**
   * Why it has none; else empty.
   */
  struct rq_string message;
  /**
   * The answer: what `rq_tag` gives, byte for byte.
   */
  struct rq_entity_list answer;
} rq_entity_result;

/**
 * A result for each text of a batch, in their order.
 */
typedef struct rq_entity_results {
  /**
   * The results.
   */
  const struct rq_entity_result *items;
  /**
   * Their number.
   */
  size_t len;
} rq_entity_results;

/**
 * How to classify by labels of one's own.
 */
typedef struct rq_zero_shot_options {
  /**
   * `sizeof(rq_zero_shot_options)`.
   */
  size_t size;
  /**
   * A sentence about a label, which is put in place of its `{}`: UTF-8 that ends with a zero, or NULL for "This example is
   * {}.".
   */
  const char *hypothesis_template;
  /**
   * Whether any number of labels may be right, so that each has a probability of its own; 0 where one is, and the
   * probabilities of all sum up to 1.
   */
  uint8_t multi_label;
  /**
   * Whether to cut a text that is too long at its end: 0 refuses it. A label's sentence is never cut.
   */
  uint8_t truncate;
} rq_zero_shot_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The name of a status, as "RQ_OK", for logs. It lives for ever.
 *
 * @param status   An `rq_status`, or any other number, whose name is "unknown".
 */
const char *rq_status_name(int32_t status);

/**
 * The version of rq, as "0.1.0".
 */
const char *rq_version(void);

/**
 * The version of this interface: see `RQ_ABI_VERSION`.
 */
uint32_t rq_abi_version(void);

/**
 * Maps the model file at `path`: nothing is copied, and its pages stay the file's. While the model lives, the file must not be
 * changed in place or cut; it may be replaced by another.
 *
 * @param path     The file's path, UTF-8, `path_len` bytes.
 * @param message  NULL, or where to say why it failed.
 * @param model    Where the model goes; free it with `rq_model_free`.
 */
enum rq_status rq_model_open(const char *path,
                             size_t path_len,
                             struct rq_message *message,
                             struct rq_model **model);

/**
 * Maps the model that is `length` bytes at `offset` of an open file, such as an uncompressed asset inside an Android package
 * (AAsset_openFileDescriptor). It is used in place if `offset` is a multiple of 64, else copied to memory once. The
 * descriptor may be closed afterwards. Only on Unix-like systems.
 */
enum rq_status rq_model_open_fd(int32_t fd,
                                uint64_t offset,
                                uint64_t length,
                                struct rq_message *message,
                                struct rq_model **model);

/**
 * Takes the bytes of a model file from memory. If they begin at a multiple of 64 they are used in place, and must stay as they
 * are until the model and all its sessions are freed; else they are copied, and can be freed at once.
 */
enum rq_status rq_model_from_memory(const uint8_t *data,
                                    size_t len,
                                    struct rq_message *message,
                                    struct rq_model **model);

/**
 * Frees a model. Its sessions go on working. NULL is ignored.
 */
void rq_model_free(struct rq_model *model);

/**
 * What the model is for; `RQ_HEAD_NONE` for NULL.
 */
enum rq_head rq_model_head(const struct rq_model *model);

/**
 * The width of hidden states; 0 for NULL.
 */
size_t rq_model_hidden_size(const struct rq_model *model);

/**
 * The width of an embedding, which the model's publisher may make another one than that of hidden states; 0 for NULL.
 */
size_t rq_model_embedding_size(const struct rq_model *model);

/**
 * The most tokens of a text, special ones included; 0 for NULL.
 */
size_t rq_model_max_tokens(const struct rq_model *model);

/**
 * How many labels a classifier or tagger has; 0 for other models.
 */
size_t rq_model_label_count(const struct rq_model *model);

/**
 * A label, from 0; empty where there is none. It lives as long as the model.
 */
struct rq_string rq_model_label(const struct rq_model *model, size_t index);

/**
 * The mask token as it must be written in a text; empty for a model without one. It lives as long as the model.
 */
struct rq_string rq_model_mask_token(const struct rq_model *model);

/**
 * Reads the weights into memory now, where the system supports it, so that the first answer doesn't wait for a disk.
 */
void rq_model_prefetch(const struct rq_model *model);

/**
 * Counts the tokens of a text, or of a pair of texts. A prompt before a text that is embedded is counted with it only where the
 * text given here begins with it.
 *
 * @param pair     The second text of a pair, or NULL for a single text.
 * @param message  NULL, or where to say why it failed.
 * @param count    Where the numbers go.
 */
enum rq_status rq_count_tokens(const struct rq_model *model,
                               const char *text,
                               size_t text_len,
                               const char *pair,
                               size_t pair_len,
                               struct rq_message *message,
                               struct rq_token_count *count);

/**
 * Makes a session of a model. It starts its threads now, if any, and allocates memory as texts need it.
 *
 * @param options  NULL for the defaults.
 * @param message  NULL, or where to say why it failed.
 * @param session  Where the session goes; free it with `rq_session_free`.
 */
enum rq_status rq_session_new(const struct rq_model *model,
                              const struct rq_session_options *options,
                              struct rq_message *message,
                              struct rq_session **session);

/**
 * Frees a session, and its model if that was freed before and has no other session. NULL is ignored.
 */
void rq_session_free(struct rq_session *session);

/**
 * Why the latest call with a session failed: empty if it didn't. It lives until the next call with the same one.
 */
struct rq_string rq_session_message(const struct rq_session *session);

/**
 * Allocates the session's memory for a text of `tokens` tokens, with at most eight masks, so that computing such a text later
 * allocates no more of it.
 */
enum rq_status rq_session_reserve(struct rq_session *session,
                                  size_t tokens);

/**
 * Bytes of memory that the session holds, beside the model; 0 for NULL, or while another thread uses it.
 */
size_t rq_session_memory(struct rq_session *session);

/**
 * The parts of a context that answer a question. The context may be of any length: a long one is read in overlapping windows.
 * The model's head must be `RQ_HEAD_QUESTION_ANSWERING`.
 *
 * @param options  NULL for the defaults.
 * @param list     Where the list goes; free it with `rq_answer_list_free`.
 */
enum rq_status rq_answer(struct rq_session *session,
                         const char *question,
                         size_t question_len,
                         const char *context,
                         size_t context_len,
                         const struct rq_answer_options *options,
                         struct rq_answer_list **list);

/**
 * As `rq_answer`, for each of `count` questions, each with a context of its own. What is wrong with one of them is in its
 * result, and the others are answered.
 *
 * @param options  NULL for the defaults.
 * @param results  Where the results go; free them with `rq_answer_results_free`.
 */
enum rq_status rq_answer_batch(struct rq_session *session,
                               const struct rq_text *questions,
                               const struct rq_text *contexts,
                               size_t count,
                               const struct rq_answer_options *options,
                               struct rq_answer_results **results);

/**
 * Frees a list. NULL is ignored.
 */
void rq_answer_list_free(struct rq_answer_list *list);

/**
 * Frees the results of a batch. NULL is ignored.
 */
void rq_answer_results_free(struct rq_answer_results *results);

/**
 * The labels of a text, or of a pair of texts. The model's head must be `RQ_HEAD_SEQUENCE_CLASSIFICATION`.
 *
 * @param pair     The second text of a pair, or NULL for a single text.
 * @param options  NULL for the defaults.
 * @param list     Where the list goes; free it with `rq_label_list_free`.
 */
enum rq_status rq_classify(struct rq_session *session,
                           const char *text,
                           size_t text_len,
                           const char *pair,
                           size_t pair_len,
                           const struct rq_classify_options *options,
                           struct rq_label_list **list);

/**
 * As `rq_classify`, for each of `count` texts or pairs. What is wrong with a text is in its result, and the others are
 * classified.
 *
 * @param pairs    The second text of each pair, or NULL for single texts.
 * @param options  NULL for the defaults.
 * @param results  Where the results go; free them with `rq_label_results_free`.
 */
enum rq_status rq_classify_batch(struct rq_session *session,
                                 const struct rq_text *texts,
                                 const struct rq_text *pairs,
                                 size_t count,
                                 const struct rq_classify_options *options,
                                 struct rq_label_results **results);

/**
 * Frees a list. NULL is ignored.
 */
void rq_label_list_free(struct rq_label_list *list);

/**
 * Frees the results of a batch. NULL is ignored.
 */
void rq_label_results_free(struct rq_label_results *results);

/**
 * The embedding of a text: `rq_model_embedding_size` floats, unless options ask for fewer dimensions. Any model has one.
 *
 * @param options   NULL for the defaults.
 * @param out       Room for `capacity` floats; NULL with a capacity of 0 asks for the length.
 * @param len       NULL, or where the number of floats goes, also when `out` is too small (`RQ_BUFFER`).
 */
enum rq_status rq_embed(struct rq_session *session,
                        const char *text,
                        size_t text_len,
                        const struct rq_embed_options *options,
                        float *out,
                        size_t capacity,
                        size_t *len);

/**
 * As `rq_embed`, for each of `count` texts. What is wrong with a text is in its result, and the others are embedded.
 *
 * @param options  NULL for the defaults.
 * @param results  Where the results go; free them with `rq_embedding_results_free`.
 */
enum rq_status rq_embed_batch(struct rq_session *session,
                              const struct rq_text *texts,
                              size_t count,
                              const struct rq_embed_options *options,
                              struct rq_embedding_results **results);

/**
 * Frees the results of a batch. NULL is ignored.
 */
void rq_embedding_results_free(struct rq_embedding_results *results);

/**
 * The best tokens for each mask of a text. The model's head must be `RQ_HEAD_MASKED_LM`.
 *
 * @param options  NULL for the defaults.
 * @param list     Where the list goes; free it with `rq_fill_list_free`.
 */
enum rq_status rq_fill(struct rq_session *session,
                       const char *text,
                       size_t text_len,
                       const struct rq_fill_options *options,
                       struct rq_fill_list **list);

/**
 * As `rq_fill`, for each of `count` texts. What is wrong with a text is in its result, and the others are answered.
 *
 * @param options  NULL for the defaults.
 * @param results  Where the results go; free them with `rq_fill_results_free`.
 */
enum rq_status rq_fill_batch(struct rq_session *session,
                             const struct rq_text *texts,
                             size_t count,
                             const struct rq_fill_options *options,
                             struct rq_fill_results **results);

/**
 * Frees a list. NULL is ignored.
 */
void rq_fill_list_free(struct rq_fill_list *list);

/**
 * Frees the results of a batch. NULL is ignored.
 */
void rq_fill_results_free(struct rq_fill_results *results);

/**
 * The tokens of a text, special ones included, and the last hidden states of each: `tokens` x `rq_model_hidden_size` floats,
 * token after token.
 *
 * @param ids       NULL, or room for `capacity / rq_model_hidden_size` ids, where the tokens' ids go.
 * @param out       Room for `capacity` floats; NULL with a capacity of 0 asks for the length.
 * @param tokens    NULL, or where the number of tokens goes, also when `out` is too small (`RQ_BUFFER`).
 */
enum rq_status rq_hidden_states(struct rq_session *session,
                                const char *text,
                                size_t text_len,
                                uint32_t *ids,
                                float *out,
                                size_t capacity,
                                size_t *tokens);

/**
 * How probable a text is, by its pseudo-log-likelihood: the probability of each token where it is masked. A text of n tokens takes
 * n passes over it. The model's head must be `RQ_HEAD_MASKED_LM`.
 *
 * @param options  NULL for the defaults.
 * @param list     Where the score and those of the tokens go; free them with `rq_score_list_free`.
 */
enum rq_status rq_score(struct rq_session *session,
                        const char *text,
                        size_t text_len,
                        const struct rq_score_options *options,
                        struct rq_score_list **list);

/**
 * As `rq_score`, for each of `count` texts. What is wrong with a text is in its result, and the others are scored.
 *
 * @param options  NULL for the defaults.
 * @param results  Where the results go; free them with `rq_score_results_free`.
 */
enum rq_status rq_score_batch(struct rq_session *session,
                              const struct rq_text *texts,
                              size_t count,
                              const struct rq_score_options *options,
                              struct rq_score_results **results);

/**
 * Frees a score. NULL is ignored.
 */
void rq_score_list_free(struct rq_score_list *list);

/**
 * Frees the results of a batch. NULL is ignored.
 */
void rq_score_results_free(struct rq_score_results *results);

/**
 * The tagged parts of a text of any length: a long one is read in overlapping windows. The model's head must be
 * `RQ_HEAD_TOKEN_CLASSIFICATION`.
 *
 * @param options  NULL for the defaults.
 * @param list     Where the list goes; free it with `rq_entity_list_free`.
 */
enum rq_status rq_tag(struct rq_session *session,
                      const char *text,
                      size_t text_len,
                      const struct rq_tag_options *options,
                      struct rq_entity_list **list);

/**
 * As `rq_tag`, for each of `count` texts. What is wrong with a text is in its result, and the others are tagged.
 *
 * @param options  NULL for the defaults.
 * @param results  Where the results go; free them with `rq_entity_results_free`.
 */
enum rq_status rq_tag_batch(struct rq_session *session,
                            const struct rq_text *texts,
                            size_t count,
                            const struct rq_tag_options *options,
                            struct rq_entity_results **results);

/**
 * Frees a list. NULL is ignored.
 */
void rq_entity_list_free(struct rq_entity_list *list);

/**
 * Frees the results of a batch. NULL is ignored.
 */
void rq_entity_results_free(struct rq_entity_results *results);

/**
 * The caller's labels of a text, by a model that was trained on entailment (natural language inference): its head must be
 * `RQ_HEAD_SEQUENCE_CLASSIFICATION`, with a label that begins with "entail", or else its last one stands for that.
 *
 * @param labels   `label_count` labels, of which there must be one.
 * @param options  NULL for the defaults.
 * @param list     Where the list of all labels goes; free it with `rq_label_list_free`.
 */
enum rq_status rq_zero_shot(struct rq_session *session,
                            const char *text,
                            size_t text_len,
                            const struct rq_text *labels,
                            size_t label_count,
                            const struct rq_zero_shot_options *options,
                            struct rq_label_list **list);

/**
 * As `rq_zero_shot`, for each of `count` texts. What is wrong with a text is in its result, and the others are classified.
 *
 * @param labels   `label_count` labels, of which there must be one.
 * @param options  NULL for the defaults.
 * @param results  Where the results go; free them with `rq_label_results_free`.
 */
enum rq_status rq_zero_shot_batch(struct rq_session *session,
                                  const struct rq_text *texts,
                                  size_t count,
                                  const struct rq_text *labels,
                                  size_t label_count,
                                  const struct rq_zero_shot_options *options,
                                  struct rq_label_results **results);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RQ_H */
