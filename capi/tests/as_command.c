/* What `rq` prints with --json, written from rq.h alone with options that are all zeros: capi/check compares both.
 *
 *     as_command MODEL.rq fill|embed|classify|tag|score TEXT
 *     as_command MODEL.rq classify|answer TEXT SECOND
 *     as_command MODEL.rq labels TEXT LABEL...
 */
#include "rq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest digits that are read as this number again, of a double or of a float, as serde_json writes them. */
static void number(double x, int is_float) {
  char digits[40];
  int precision = 0;
  do snprintf(digits, sizeof digits, "%.*e", precision, x);
  while (precision++ < 17 && (is_float ? strtof(digits, NULL) != (float)x : strtod(digits, NULL) != x));
  char *e = strchr(digits, 'e');
  int exponent = atoi(e + 1), count = 0;
  *e = '\0';
  for (const char *d = digits; *d; d++) {
    if (*d >= '0' && *d <= '9') digits[count++] = *d;
  }
  digits[count] = '\0';
  if (x < 0) putchar('-');
  if (exponent < -5 || exponent > 15) {
    printf(count > 1 ? "%c.%se%d" : "%c%se%d", digits[0], digits + 1, exponent);
  } else if (exponent < 0) {
    printf("0.%.*s%s", -exponent - 1, "0000", digits);
  } else if (count <= exponent + 1) {
    printf("%s%.*s.0", digits, exponent + 1 - count, "0000000000000000");
  } else {
    printf("%.*s.%s", exponent + 1, digits, digits + exponent + 1);
  }
}

static void string(const char *text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    putchar(*text);
  }
  putchar('"');
}

static void field(const char *before, const char *name, rq_string value) {
  printf("%s\"%s\":", before, name);
  string(value.data);
}

static void score_field(const char *before, double score) {
  printf("%s\"score\":", before);
  number(score, 0);
}

static rq_status fill(rq_session *session, const char *text) {
  rq_fill_options options = {.size = sizeof options};
  rq_fill_list *list = NULL;
  rq_status status = rq_fill(session, text, strlen(text), &options, &list);
  if (status != RQ_OK) return status;
  printf(list->masks > 1 ? "[[" : "[");
  for (size_t i = 0; i < list->len; i++) {
    const rq_fill_token *token = &list->items[i];
    if (i > 0) printf(token->mask != token[-1].mask ? "],[" : ",");
    score_field("{", token->score);
    printf(",\"token\":%u", token->token);
    field(",", "token_str", token->token_str);
    field(",", "sequence", token->sequence);
    printf("}");
  }
  puts(list->masks > 1 ? "]]" : "]");
  rq_fill_list_free(list);
  return status;
}

static rq_status embed(rq_session *session, const char *text) {
  rq_embed_options options = {.size = sizeof options};
  size_t len = 0;
  rq_status status = rq_embed(session, text, strlen(text), &options, NULL, 0, &len);
  if (status != RQ_BUFFER) return status;
  float *out = malloc(len * sizeof *out);
  if (out == NULL) abort();
  status = rq_embed(session, text, strlen(text), &options, out, len, NULL);
  for (size_t i = 0; status == RQ_OK && i < len; i++) {
    putchar(i > 0 ? ',' : '[');
    number(out[i], 1);
  }
  if (status == RQ_OK) puts("]");
  free(out);
  return status;
}

static rq_status classify(rq_session *session, const char *text, const char *pair) {
  rq_classify_options options = {.size = sizeof options};
  rq_label_list *list = NULL;
  rq_status status = rq_classify(session, text, strlen(text), pair, pair ? strlen(pair) : 0, &options, &list);
  if (status != RQ_OK) return status;
  for (size_t i = 0; i < list->len; i++) {
    field(i > 0 ? ",{" : "[{", "label", list->items[i].label);
    score_field(",", list->items[i].score);
    printf("}");
  }
  puts("]");
  rq_label_list_free(list);
  return status;
}

static rq_status zero_shot(rq_session *session, const char *text, char **given, size_t count) {
  rq_zero_shot_options options = {.size = sizeof options};
  rq_text labels[8];
  if (count > 8) abort();
  for (size_t i = 0; i < count; i++) labels[i] = (rq_text){given[i], strlen(given[i])};
  rq_label_list *list = NULL;
  rq_status status = rq_zero_shot(session, text, strlen(text), labels, count, &options, &list);
  if (status != RQ_OK) return status;
  printf("{\"sequence\":");
  string(text);
  for (size_t i = 0; i < list->len; i++) {
    printf(i > 0 ? "," : ",\"labels\":[");
    string(list->items[i].label.data);
  }
  for (size_t i = 0; i < list->len; i++) {
    printf(i > 0 ? "," : "],\"scores\":[");
    number(list->items[i].score, 0);
  }
  puts("]}");
  rq_label_list_free(list);
  return status;
}

static rq_status tag(rq_session *session, const char *text) {
  rq_tag_options options = {.size = sizeof options};
  rq_entity_list *list = NULL;
  rq_status status = rq_tag(session, text, strlen(text), &options, &list);
  if (status != RQ_OK) return status;
  printf("[");
  for (size_t i = 0; i < list->len; i++) {
    const rq_entity *entity = &list->items[i];
    field(i > 0 ? ",{" : "{", "entity_group", entity->label);
    score_field(",", entity->score);
    field(",", "word", entity->word);
    printf(",\"start\":%zu,\"end\":%zu}", entity->start_character, entity->end_character);
  }
  puts("]");
  rq_entity_list_free(list);
  return status;
}

static rq_status answer(rq_session *session, const char *question, const char *context) {
  rq_answer_options options = {.size = sizeof options};
  rq_answer_list *list = NULL;
  rq_status status = rq_answer(session, question, strlen(question), context, strlen(context), &options, &list);
  if (status != RQ_OK) return status;
  for (size_t i = 0; i < list->len; i++) {
    const rq_answer_span *span = &list->items[i];
    score_field("{", span->score);
    printf(",\"start\":%zu,\"end\":%zu", span->start_character, span->end_character);
    field(",", "answer", span->answer);
    puts("}");
  }
  rq_answer_list_free(list);
  return status;
}

static rq_status score(rq_session *session, const char *text) {
  rq_score_options options = {.size = sizeof options};
  rq_score_list *list = NULL;
  rq_status status = rq_score(session, text, strlen(text), &options, &list);
  if (status != RQ_OK) return status;
  score_field("{", list->total);
  printf(",\"pseudo_perplexity\":");
  number(list->pseudo_perplexity, 0);
  printf(",\"tokens\":[");
  for (size_t i = 0; i < list->len; i++) {
    printf("%s\"token\":%u", i > 0 ? ",{" : "{", list->items[i].token);
    field(",", "token_str", list->items[i].token_str);
    printf(",\"logprob\":");
    number(list->items[i].log_probability, 0);
    printf("}");
  }
  puts("]}");
  rq_score_list_free(list);
  return status;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: as_command MODEL.rq TASK TEXT [MORE]\n");
    return 2;
  }
  rq_message message;
  rq_model *model = NULL;
  rq_session *session = NULL;
  rq_session_options options = {.size = sizeof options};
  if (rq_model_open(argv[1], strlen(argv[1]), &message, &model) != RQ_OK ||
      rq_session_new(model, &options, &message, &session) != RQ_OK) {
    fprintf(stderr, "%s\n", message.text);
    rq_model_free(model);
    return 1;
  }
  const char *task = argv[2], *text = argv[3], *second = argc > 4 ? argv[4] : NULL;
  rq_status status = RQ_TEXT;
  if (strcmp(task, "fill") == 0) status = fill(session, text);
  if (strcmp(task, "embed") == 0) status = embed(session, text);
  if (strcmp(task, "classify") == 0) status = classify(session, text, second);
  if (strcmp(task, "labels") == 0) status = zero_shot(session, text, argv + 4, (size_t)argc - 4);
  if (strcmp(task, "tag") == 0) status = tag(session, text);
  if (strcmp(task, "answer") == 0 && second != NULL) status = answer(session, text, second);
  if (strcmp(task, "score") == 0) status = score(session, text);
  if (status != RQ_OK) fprintf(stderr, "%s: %s\n", rq_status_name(status), rq_session_message(session).data);
  rq_session_free(session);
  rq_model_free(model);
  return status != RQ_OK;
}
