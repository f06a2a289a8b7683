/* The bits of a model's answers, to compare processors, instruction sets and numbers of threads.
 *
 *     bits MODEL.rq THREADS TOP_K TEXT...
 *
 * For each text: a hash of its hidden states, and the scores of the best tokens for each mask. RQ_ISA names the instruction set.
 */
#include "rq.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what, rq_status status, const char *why) {
  fprintf(stderr, "%s: %s: %s\n", what, rq_status_name(status), why);
  exit(1);
}

static void hidden_states(rq_session *session, const char *text, size_t width) {
  size_t len = 0;
  rq_status status = rq_hidden_states(session, text, strlen(text), NULL, NULL, 0, &len);
  if (status != RQ_BUFFER) fail("hidden states", status, rq_session_message(session).data);
  float *values = malloc(len * width * sizeof *values);
  if (values == NULL) abort();
  status = rq_hidden_states(session, text, strlen(text), NULL, values, len * width, &len);
  if (status != RQ_OK) fail("hidden states", status, rq_session_message(session).data);
  /* FNV-1a. */
  uint64_t hash = 0xcbf29ce484222325u;
  const unsigned char *bytes = (const unsigned char *)values;
  for (size_t i = 0; i < len * width * sizeof *values; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  printf("%zu tokens, hidden states %016llx\n", len, (unsigned long long)hash);
  free(values);
}

static void fill(rq_session *session, const char *text, size_t top_k) {
  rq_fill_options options = {.size = sizeof options, .top_k = top_k};
  rq_fill_list *list = NULL;
  rq_status status = rq_fill(session, text, strlen(text), &options, &list);
  if (status != RQ_OK) fail("fill", status, rq_session_message(session).data);
  for (size_t i = 0; i < list->len; i++) {
    printf("%zu %a %s\n", list->items[i].mask, list->items[i].score, list->items[i].token_str.data);
  }
  rq_fill_list_free(list);
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: bits MODEL.rq THREADS TOP_K TEXT...\n");
    return 2;
  }
  rq_message message;
  rq_model *model = NULL;
  rq_status status = rq_model_open(argv[1], strlen(argv[1]), &message, &model);
  if (status != RQ_OK) fail(argv[1], status, message.text);
  rq_session_options options = {.size = sizeof options, .threads = strtoul(argv[2], NULL, 10)};
  rq_session *session = NULL;
  status = rq_session_new(model, &options, &message, &session);
  if (status != RQ_OK) fail("session", status, message.text);
  for (int i = 4; i < argc; i++) {
    hidden_states(session, argv[i], rq_model_hidden_size(model));
    fill(session, argv[i], strtoul(argv[3], NULL, 10));
  }
  rq_session_free(session);
  rq_model_free(model);
  return 0;
}
