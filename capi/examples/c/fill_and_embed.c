/* Fills the masks of a text, and embeds it, as `rq fill -k 3` and `rq embed` do: rq in C.
 *
 *     fill_and_embed MODEL.rq "She opened the <mask>."
 */
#include "rq.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Says why a call with a session failed. */
static int failed(const char *what, rq_status status, const rq_session *session) {
  fprintf(stderr, "%s: %s: %s\n", what, rq_status_name(status), rq_session_message(session).data);
  return 1;
}

/* Characters of UTF-8: all bytes but those that go on with one. */
static int characters(const char *text) {
  int count = 0;
  for (; *text; text++) count += (*text & 0xC0) != 0x80;
  return count;
}

/* Without the space before a word. */
static const char *word(rq_string token) { return token.data + (token.data[0] == ' '); }

/* Prints the best tokens for each mask. */
static int fill(rq_session *session, const char *text) {
  rq_fill_options options = {.size = sizeof options, .top_k = 3};
  rq_fill_list *list = NULL;
  rq_status status = rq_fill(session, text, strlen(text), &options, &list);
  if (status != RQ_OK) return failed("fill", status, session);
  printf("%s\n", text);
  int width = 0;
  for (size_t i = 0; i < list->len; i++) {
    int this = characters(word(list->items[i].token_str));
    if (this > width) width = this;
  }
  for (size_t i = 0; i < list->len; i++) {
    const rq_fill_token *token = &list->items[i];
    if (list->masks > 1 && (i == 0 || token->mask != list->items[i - 1].mask)) printf("  mask %zu\n", token->mask + 1);
    printf("  %s%*s  %6.2f %%\n", word(token->token_str), width - characters(word(token->token_str)), "", 100 * token->score);
  }
  rq_fill_list_free(list);
  return 0;
}

/* Prints an embedding's length and first values. Any model has embeddings; one that was trained for them has good ones. */
static int embed(rq_session *session, const char *text) {
  size_t dimension = 0;
  rq_status status = rq_embed(session, text, strlen(text), NULL, NULL, 0, &dimension);
  if (status != RQ_BUFFER) return failed("embed", status, session);
  float *embedding = malloc(dimension * sizeof *embedding);
  if (embedding == NULL) return 1;
  status = rq_embed(session, text, strlen(text), NULL, embedding, dimension, NULL);
  if (status == RQ_OK) {
    double sum = 0;
    for (size_t i = 0; i < dimension; i++) sum += (double)embedding[i] * embedding[i];
    printf("%9.4f ", sqrt(sum));
    for (size_t i = 0; i < dimension && i < 5; i++) printf("%10.4f", embedding[i]);
    printf(" ...  %s\n", text);
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
  rq_session_options options = {.size = sizeof options, .threads = 1};
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
