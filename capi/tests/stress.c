/* Every task of several models, on many threads at once, through the C interface: each answer must be the one that was given
 * alone.
 *
 *     stress CALLS THREADS MODEL.rq...
 *
 * The models are shared by all threads. Each thread has its own session of each, opened anew now and then, on one or two threads
 * of its own; one more session is shared by all of them, which is an error that must be told as RQ_BUSY. Wrong calls are mixed
 * in. Nothing may leak, which valgrind sees, and nothing may race, which ThreadSanitizer sees: capi/stress runs both.
 */
#define _POSIX_C_SOURCE 199309L
#include "rq.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_MODELS = 8, MAX_THREADS = 64, TEXTS = 6, TASKS = 7 };

static const char *const texts[TEXTS] = {
    "She opened the <mask> and walked into the garden.",
    "A <mask> in the hand is worth two in the <mask>.",
    "Anna works in Berlin.",
    "The striker scored two goals, and <mask> \xE2\x80\x94 na\xC3\xAFve as ever \xE2\x80\x94 cheered. \xF0\x9F\x98\x80",
    "Rain.",
    "",
};

/* An answer, as a number that another answer hardly has by chance: the status, and FNV-1a over every byte of a result. */
static uint64_t mix(uint64_t hash, const void *data, size_t len) {
  const unsigned char *bytes = data;
  for (size_t i = 0; i < len; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

static uint64_t mix_string(uint64_t hash, rq_string string) {
  /* The NUL behind it, too. */
  return mix(hash, string.data, string.len + 1);
}

static uint64_t fill(rq_session *session, const char *text, rq_status *status) {
  rq_fill_list *list = NULL;
  uint64_t hash = 1;
  *status = rq_fill(session, text, strlen(text), NULL, &list);
  for (size_t i = 0; list != NULL && i < list->len; i++) {
    const rq_fill_token *item = &list->items[i];
    hash = mix(hash, &item->mask, sizeof item->mask);
    hash = mix(hash, &item->score, sizeof item->score);
    hash = mix_string(mix_string(hash, item->token_str), item->sequence);
  }
  rq_fill_list_free(list);
  return hash;
}

static uint64_t floats(const rq_model *model, rq_session *session, const char *text, int hidden, rq_status *status) {
  size_t width = rq_model_hidden_size(model), room = rq_model_embedding_size(model), len = 0;
  if (hidden) {
    *status = rq_hidden_states(session, text, strlen(text), NULL, NULL, 0, &len);
    if (*status != RQ_BUFFER) return 2;
    room = len * width;
  }
  float *out = malloc(room * sizeof *out);
  if (out == NULL) abort();
  if (hidden) {
    *status = rq_hidden_states(session, text, strlen(text), NULL, out, room, &len);
  } else {
    *status = rq_embed(session, text, strlen(text), NULL, out, room, NULL);
  }
  uint64_t hash = *status == RQ_OK ? mix(3, out, room * sizeof *out) : 3;
  free(out);
  return hash;
}

static uint64_t classify(rq_session *session, const char *text, rq_status *status) {
  rq_label_list *list = NULL;
  uint64_t hash = 4;
  *status = rq_classify(session, text, strlen(text), NULL, 0, NULL, &list);
  for (size_t i = 0; list != NULL && i < list->len; i++) {
    const rq_label *item = &list->items[i];
    hash = mix(mix_string(hash, item->label), &item->score, sizeof item->score);
  }
  rq_label_list_free(list);
  return hash;
}

static uint64_t tag(rq_session *session, const char *text, rq_status *status) {
  rq_entity_list *list = NULL;
  uint64_t hash = 5;
  *status = rq_tag(session, text, strlen(text), NULL, &list);
  for (size_t i = 0; list != NULL && i < list->len; i++) {
    const rq_entity *item = &list->items[i];
    hash = mix_string(mix_string(hash, item->label), item->word);
    hash = mix(mix(hash, &item->score, sizeof item->score), &item->start, sizeof item->start);
  }
  rq_entity_list_free(list);
  return hash;
}

static uint64_t answer(rq_session *session, const char *text, rq_status *status) {
  static const char question[] = "Where does Anna work?";
  rq_answer_list *list = NULL;
  uint64_t hash = 6;
  *status = rq_answer(session, question, strlen(question), text, strlen(text), NULL, &list);
  for (size_t i = 0; list != NULL && i < list->len; i++) {
    const rq_answer_span *item = &list->items[i];
    hash = mix(mix_string(hash, item->answer), &item->score, sizeof item->score);
  }
  rq_answer_list_free(list);
  return hash;
}

static uint64_t score(rq_session *session, const char *text, rq_status *status) {
  rq_score_list *list = NULL;
  uint64_t hash = 9;
  *status = rq_score(session, text, strlen(text), NULL, &list);
  for (size_t i = 0; list != NULL && i < list->len; i++) {
    const rq_token_score *item = &list->items[i];
    hash = mix(mix_string(hash, item->token_str), &item->log_probability, sizeof item->log_probability);
  }
  rq_score_list_free(list);
  return hash;
}

/* All texts together, in which some are refused, behind this one; what one of them gives hardly stays the same if another's
 * answer changes. */
static uint64_t batch(const rq_model *model, rq_session *session, const char *text, rq_status *status) {
  rq_text all[TEXTS + 1] = {{text, strlen(text)}};
  for (size_t i = 0; i < TEXTS; i++) all[i + 1] = (rq_text){texts[i], strlen(texts[i])};
  uint64_t hash = 10;
  rq_embedding_results *embeddings = NULL;
  *status = rq_embed_batch(session, all, TEXTS + 1, NULL, &embeddings);
  for (size_t i = 0; embeddings != NULL && i < embeddings->len; i++) {
    const rq_embedding_result *result = &embeddings->items[i];
    hash = mix(mix_string(hash, result->message), result->values, result->len * sizeof *result->values);
  }
  rq_embedding_results_free(embeddings);
  if (*status == RQ_BUSY) return hash;
  if (rq_model_head(model) == RQ_HEAD_MASKED_LM) {
    rq_fill_results *results = NULL;
    *status = rq_fill_batch(session, all, TEXTS + 1, NULL, &results);
    for (size_t i = 0; results != NULL && i < results->len; i++) {
      const rq_fill_result *result = &results->items[i];
      hash = mix_string(hash, result->message);
      for (size_t k = 0; k < result->answer.len; k++) hash = mix_string(hash, result->answer.items[k].sequence);
    }
    rq_fill_results_free(results);
  } else if (rq_model_head(model) == RQ_HEAD_TOKEN_CLASSIFICATION) {
    rq_entity_results *results = NULL;
    *status = rq_tag_batch(session, all, TEXTS + 1, NULL, &results);
    for (size_t i = 0; results != NULL && i < results->len; i++) {
      const rq_entity_result *result = &results->items[i];
      hash = mix_string(hash, result->message);
      for (size_t k = 0; k < result->answer.len; k++) hash = mix_string(hash, result->answer.items[k].word);
    }
    rq_entity_results_free(results);
  }
  return hash;
}

/* A task of a model; one that it isn't for is refused, which is an answer, too. */
static uint64_t call(const rq_model *model, rq_session *session, int task, const char *text, rq_status *status) {
  switch (task) {
    case 0: return floats(model, session, text, 0, status);
    case 1: return floats(model, session, text, 1, status);
    case 2: return fill(session, text, status);
    case 3:
      switch (rq_model_head(model)) {
        case RQ_HEAD_SEQUENCE_CLASSIFICATION: return classify(session, text, status);
        case RQ_HEAD_TOKEN_CLASSIFICATION: return tag(session, text, status);
        case RQ_HEAD_QUESTION_ANSWERING: return answer(session, text, status);
        default: return fill(session, text, status);
      }
    case 4: return score(session, text, status);
    case 5: return batch(model, session, text, status);
    default: {
      /* Wrong: not UTF-8. */
      rq_fill_list *list = NULL;
      *status = rq_fill(session, "\xFF", 1, NULL, &list);
      return list == NULL ? 7 : 8;
    }
  }
}

static rq_model *models[MAX_MODELS];
static size_t model_count;
static struct {
  uint64_t hash;
  rq_status status;
} alone[MAX_MODELS][TASKS][TEXTS];
static rq_session *shared;
static atomic_long left, busy, answered, refused;

static rq_session *open_session(const rq_model *model, size_t threads) {
  rq_session_options options = {.size = sizeof options, .threads = threads};
  rq_message message;
  rq_session *session = NULL;
  if (rq_session_new(model, &options, &message, &session) != RQ_OK) {
    fprintf(stderr, "%s\n", message.text);
    exit(1);
  }
  return session;
}

static void *work(void *seed) {
  uint64_t random = (uint64_t)(uintptr_t)seed * 0x9E3779B97F4A7C15u;
  rq_session *sessions[MAX_MODELS];
  for (size_t m = 0; m < model_count; m++) sessions[m] = open_session(models[m], 1);
  while (atomic_fetch_sub(&left, 1) > 0) {
    /* Knuth's MMIX generator; its high bits are the better ones. */
    random = random * 6364136223846793005u + 1442695040888963407u;
    uint64_t dice = random >> 33;
    size_t m = dice % model_count;
    /* Of 16 calls 4 embed, 3 give hidden states, 2 fill, 6 do what the model is for, and one is wrong; but of 128 one scores and
     * one is a batch, which take as long as a dozen others. */
    int task = "0000111223333336"[dice / 8 % 16] - '0';
    if (dice / 8 % 128 < 2) task = 4 + (int)(dice / 8 % 128);
    size_t text = dice / 128 % TEXTS;
    if (dice / 1024 % 64 == 0) {
      rq_session_free(sessions[m]);
      sessions[m] = open_session(models[m], 1 + dice / 65536 % 2);
    }
    /* The session that all of them use is of the first model. */
    int of_shared = m == 0 && dice / 131072 % 8 == 0;
    rq_status status;
    uint64_t hash = call(models[m], of_shared ? shared : sessions[m], task, texts[text], &status);
    if (of_shared && status == RQ_BUSY) {
      atomic_fetch_add(&busy, 1);
      continue;
    }
    if (hash != alone[m][task][text].hash || status != alone[m][task][text].status) {
      fprintf(stderr, "model %zu, task %d, text %zu: another answer than alone (status %d)\n", m, task, text, (int)status);
      exit(1);
    }
    atomic_fetch_add(status == RQ_OK ? &answered : &refused, 1);
  }
  for (size_t m = 0; m < model_count; m++) rq_session_free(sessions[m]);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 4 || argc - 3 > MAX_MODELS || atoi(argv[2]) < 1 || atoi(argv[2]) > MAX_THREADS) {
    fprintf(stderr, "usage: stress CALLS THREADS MODEL.rq...\n");
    return 2;
  }
  long calls = atol(argv[1]);
  int threads = atoi(argv[2]);
  model_count = (size_t)argc - 3;
  for (size_t m = 0; m < model_count; m++) {
    rq_message message;
    if (rq_model_open(argv[3 + m], strlen(argv[3 + m]), &message, &models[m]) != RQ_OK) {
      fprintf(stderr, "%s\n", message.text);
      return 1;
    }
    /* Each call alone, in a session that has done nothing else. */
    for (int task = 0; task < TASKS; task++) {
      for (size_t text = 0; text < TEXTS; text++) {
        rq_session *session = open_session(models[m], 1);
        alone[m][task][text].hash = call(models[m], session, task, texts[text], &alone[m][task][text].status);
        rq_session_free(session);
      }
    }
  }
  shared = open_session(models[0], 1);
  atomic_store(&left, calls);
  pthread_t ids[MAX_THREADS];
  for (int i = 0; i < threads; i++) {
    if (pthread_create(&ids[i], NULL, work, (void *)(uintptr_t)(i + 1)) != 0) return 1;
  }
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  rq_session_free(shared);
  for (size_t m = 0; m < model_count; m++) rq_model_free(models[m]);
  /* The threads of a session end by themselves, shortly after it was freed; valgrind should see them ended. */
  nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
  long total = atomic_load(&answered) + atomic_load(&refused) + atomic_load(&busy);
  printf("%ld calls on %d threads: %ld answered and %ld refused as alone, %ld busy\n", total, threads,
         atomic_load(&answered), atomic_load(&refused), atomic_load(&busy));
  return total == calls ? 0 : 1;
}
