/* What a call takes, at least: the figures of docs/mobile.md. One thread.
 *
 *     speed MODEL.rq [CALLS]
 */
#define _POSIX_C_SOURCE 199309L
#include "rq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char short_text[] = "She opened the <mask> and walked into the garden.";
static char long_text[2048];

static rq_status fill(rq_session *session) {
  rq_fill_list *list = NULL;
  rq_status status = rq_fill(session, short_text, strlen(short_text), NULL, &list);
  rq_fill_list_free(list);
  return status;
}

static rq_status hidden_states(rq_session *session, float *out, size_t capacity, size_t *tokens) {
  return rq_hidden_states(session, long_text, strlen(long_text), NULL, out, capacity, tokens);
}

/* Milliseconds of the processor since some moment. */
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: speed MODEL.rq [CALLS]\n");
    return 2;
  }
  int calls = argc == 3 ? atoi(argv[2]) : 400;
  if (calls < 1) {
    fprintf(stderr, "speed: CALLS is a number from 1\n");
    return 2;
  }
  rq_message message;
  rq_model *model = NULL;
  rq_session *session = NULL;
  rq_session_options options = {.size = sizeof options, .threads = 1};
  if (rq_model_open(argv[1], strlen(argv[1]), &message, &model) != RQ_OK ||
      rq_session_new(model, &options, &message, &session) != RQ_OK) {
    fprintf(stderr, "%s\n", message.text);
    rq_model_free(model);
    return 1;
  }
  for (int i = 0; i < 12; i++) strcat(long_text, "She opened the door and walked into the garden. ");
  size_t tokens = 0, width = rq_model_hidden_size(model);
  /* Without room there are no states, but the number of tokens. */
  rq_status status = hidden_states(session, NULL, 0, &tokens);
  size_t capacity = tokens * width;
  float *out = status == RQ_BUFFER ? malloc(capacity * sizeof *out) : NULL;
  double least[3] = {1e9, 1e9, 1e9};
  if (out != NULL) status = RQ_OK;
  for (int call = 0; call < calls && status == RQ_OK; call++) {
    double begun = now();
    status = fill(session);
    double filled = now();
    if (status == RQ_OK) status = hidden_states(session, out, capacity, NULL);
    double computed = now();
    if (status != RQ_OK) break;
    hidden_states(session, NULL, 0, &tokens);
    double counted = now();
    double took[3] = {filled - begun, computed - filled, counted - computed};
    for (int i = 0; i < 3; i++) {
      if (took[i] < least[i]) least[i] = took[i];
    }
  }
  if (status != RQ_OK) {
    fprintf(stderr, "%s: %s\n", rq_status_name(status), rq_session_message(session).data);
  } else {
    printf("rq_fill: %.2f ms\nrq_hidden_states, %zu tokens: %.2f ms, of which making tokens %.2f ms\n", least[0], tokens, least[1],
           least[2]);
  }
  free(out);
  rq_session_free(session);
  rq_model_free(model);
  return status != RQ_OK;
}
