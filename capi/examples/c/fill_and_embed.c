/* Fills the masks of a text, and shows the hidden states' width: rq in C.
 *
 *     fill_and_embed MODEL.rq "She opened the <mask>."
 */
#include "rq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Says why a call with a session failed. */
static int failed(const char *what, rq_status status, const rq_session *session) {
  fprintf(stderr, "%s: status %d: %s\n", what, (int)status, rq_session_message(session).data);
  return 1;
}

/* Prints the best tokens for each mask. */
static int fill(rq_session *session, const char *text) {
  rq_fill_options options = rq_fill_options_default();
  options.top_k = 3;
  rq_fill_list *list = NULL;
  rq_status status = rq_fill(session, text, strlen(text), &options, &list);
  if (status != RQ_OK) return failed("fill", status, session);
  for (size_t i = 0; i < list->len; i++) {
    const rq_fill_token *token = &list->items[i];
    printf("mask %zu  %.4f %s\n", token->mask + 1, token->score, token->token_str.data);
  }
  rq_fill_list_free(list);
  return 0;
}

/* The mean over the tokens of their hidden states is a simple embedding of the text. */
static int embed(rq_session *session, const char *text) {
  size_t dimension = 0;
  rq_embed_options options = rq_embed_options_default();
  rq_status status = rq_embed(session, text, strlen(text), &options, NULL, 0, &dimension);
  if (status != RQ_BUFFER) return failed("embed", status, session);
  float *embedding = malloc(dimension * sizeof *embedding);
  if (embedding == NULL) return 1;
  status = rq_embed(session, text, strlen(text), &options, embedding, dimension, NULL);
  if (status == RQ_OK) {
    printf("embedding of %zu values, beginning %.4f %.4f %.4f\n", dimension, embedding[0], embedding[1], embedding[2]);
  }
  free(embedding);
  return status == RQ_OK ? 0 : failed("embed", status, session);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: fill_and_embed MODEL.rq TEXT\n");
    return 2;
  }
  if (rq_abi_version() != RQ_ABI_VERSION) {
    fprintf(stderr, "rq.h and the library are of different versions\n");
    return 2;
  }
  rq_message message;
  rq_model *model = NULL;
  if (rq_model_open(argv[1], strlen(argv[1]), &message, &model) != RQ_OK) {
    fprintf(stderr, "%s\n", message.text);
    return 1;
  }
  /* One thread: rq starts none. */
  rq_session_options options = rq_session_options_default();
  options.threads = 1;
  rq_session *session = NULL;
  int result = 1;
  if (rq_session_new(model, &options, &message, &session) != RQ_OK) {
    fprintf(stderr, "%s\n", message.text);
  } else {
    result = fill(session, argv[2]) || embed(session, argv[2]);
  }
  rq_session_free(session);
  rq_model_free(model);
  return result;
}
