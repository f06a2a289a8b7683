/* Answers with whatever a model is for, and the numbers of `rq classify`, `rq tag`, `rq answer -k 2` and `rq score --tokens`:
 * classifies a text, or a pair of them, or a text by labels of one's own; tags it; answers a question about it; or scores it.
 *
 *     tasks CLASSIFIER.rq "A text."  ["The second of a pair."]
 *     tasks NLI.rq        "A text."  --labels sports cooking money
 *     tasks TAGGER.rq     "Anna works in Berlin."
 *     tasks ANSWERER.rq   "Where does Anna work?"  "Anna works in Berlin."
 *     tasks MASKED.rq     "How probable is this?"
 */
#include "rq.h"

#include <stdio.h>
#include <string.h>

static rq_status show(rq_status status, rq_label_list *list) {
  for (size_t i = 0; status == RQ_OK && i < list->len; i++) {
    printf("%6.2f %%  %s\n", 100 * list->items[i].score, list->items[i].label.data);
  }
  rq_label_list_free(list);
  return status;
}

static rq_status classify(rq_session *session, const char *text, const char *pair) {
  rq_label_list *list = NULL;
  rq_status status = rq_classify(session, text, strlen(text), pair, pair ? strlen(pair) : 0, NULL, &list);
  return show(status, list);
}

static rq_status zero_shot(rq_session *session, const char *text, char **labels, size_t count) {
  rq_text given[32];
  rq_label_list *list = NULL;
  if (count > 32) count = 32;
  for (size_t i = 0; i < count; i++) given[i] = (rq_text){labels[i], strlen(labels[i])};
  rq_status status = rq_zero_shot(session, text, strlen(text), given, count, NULL, &list);
  return show(status, list);
}

static rq_status tag(rq_session *session, const char *text) {
  rq_entity_list *list = NULL;
  rq_status status = rq_tag(session, text, strlen(text), NULL, &list);
  for (size_t i = 0; status == RQ_OK && i < list->len; i++) {
    const rq_entity *entity = &list->items[i];
    /* The text itself, from its bytes: `word` is what the tokenizer makes of it. */
    printf("%6.2f %%  %s  %.*s  %zu-%zu\n", 100 * entity->score, entity->label.data, (int)(entity->end - entity->start),
           text + entity->start, entity->start_character, entity->end_character);
  }
  rq_entity_list_free(list);
  return status;
}

static rq_status answer(rq_session *session, const char *question, const char *context) {
  rq_answer_options options = {.size = sizeof options, .top_k = 2};
  rq_answer_list *list = NULL;
  rq_status status =
      rq_answer(session, question, strlen(question), context, context ? strlen(context) : 0, &options, &list);
  for (size_t i = 0; status == RQ_OK && i < list->len; i++) {
    printf("%6.2f %%  %s\n", 100 * list->items[i].score, list->items[i].answer.data);
  }
  rq_answer_list_free(list);
  return status;
}

static rq_status score(rq_session *session, const char *text) {
  rq_score_list *list = NULL;
  rq_status status = rq_score(session, text, strlen(text), NULL, &list);
  if (status != RQ_OK) return status;
  printf("%.2f nats, %zu tokens, pseudo-perplexity %.2f\n", list->total, list->len, list->pseudo_perplexity);
  for (size_t i = 0; i < list->len; i++) {
    printf("%8.2f  %s\n", list->items[i].log_probability, list->items[i].token_str.data);
  }
  rq_score_list_free(list);
  return RQ_OK;
}

int main(int argc, char **argv) {
  int labels = argc > 4 && strcmp(argv[3], "--labels") == 0;
  if (argc < 3 || (argc > 4 && !labels)) {
    fprintf(stderr, "usage: tasks MODEL.rq TEXT [PAIR OR CONTEXT | --labels LABEL...]\n");
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
  const char *text = argv[2], *second = argc == 4 ? argv[3] : NULL;
  rq_status status;
  switch (rq_model_head(model)) {
    case RQ_HEAD_SEQUENCE_CLASSIFICATION:
      status = labels ? zero_shot(session, text, argv + 4, (size_t)argc - 4) : classify(session, text, second);
      break;
    case RQ_HEAD_TOKEN_CLASSIFICATION: status = tag(session, text); break;
    case RQ_HEAD_MASKED_LM: status = score(session, text); break;
    default: status = answer(session, text, second); break;
  }
  if (status != RQ_OK) {
    fprintf(stderr, "%s: %s\n", rq_status_name(status), rq_session_message(session).data);
  }
  rq_session_free(session);
  rq_model_free(model);
  return status == RQ_OK ? 0 : 1;
}
