/* Answers with whatever a model is for: classifies a text, or a pair of them; tags it; or answers a question about it.
 *
 *     tasks CLASSIFIER.rq "A text."  ["The second of a pair."]
 *     tasks TAGGER.rq     "Anna works in Berlin."
 *     tasks ANSWERER.rq   "Where does Anna work?"  "Anna works in Berlin."
 */
#include "rq.h"

#include <stdio.h>
#include <string.h>

static rq_status classify(rq_session *session, const char *text, const char *pair) {
  rq_label_list *list = NULL;
  rq_status status = rq_classify(session, text, strlen(text), pair, pair ? strlen(pair) : 0, NULL, &list);
  if (status != RQ_OK) return status;
  for (size_t i = 0; i < list->len; i++) {
    printf("%.4f %s\n", list->items[i].score, list->items[i].label.data);
  }
  rq_label_list_free(list);
  return RQ_OK;
}

static rq_status tag(rq_session *session, const char *text) {
  rq_entity_list *list = NULL;
  rq_status status = rq_tag(session, text, strlen(text), NULL, &list);
  if (status != RQ_OK) return status;
  for (size_t i = 0; i < list->len; i++) {
    const rq_entity *entity = &list->items[i];
    /* The text itself, from its bytes: `word` is what the tokenizer makes of it. */
    printf("%.4f %s %.*s\n", entity->score, entity->label.data, (int)(entity->end - entity->start), text + entity->start);
  }
  rq_entity_list_free(list);
  return RQ_OK;
}

static rq_status answer(rq_session *session, const char *question, const char *context) {
  rq_answer_options options = rq_answer_options_default();
  options.top_k = 2;
  rq_answer_list *list = NULL;
  rq_status status =
      rq_answer(session, question, strlen(question), context, context ? strlen(context) : 0, &options, &list);
  if (status != RQ_OK) return status;
  for (size_t i = 0; i < list->len; i++) {
    printf("%.4f %s\n", list->items[i].score, list->items[i].answer.data);
  }
  rq_answer_list_free(list);
  return RQ_OK;
}

int main(int argc, char **argv) {
  if (argc != 3 && argc != 4) {
    fprintf(stderr, "usage: tasks MODEL.rq TEXT [PAIR OR CONTEXT]\n");
    return 2;
  }
  rq_message message;
  rq_model *model = NULL;
  rq_session *session = NULL;
  rq_session_options options = rq_session_options_default();
  options.threads = 1;
  if (rq_model_open(argv[1], strlen(argv[1]), &message, &model) != RQ_OK ||
      rq_session_new(model, &options, &message, &session) != RQ_OK) {
    fprintf(stderr, "%s\n", message.text);
    rq_model_free(model);
    return 1;
  }
  const char *text = argv[2], *second = argc == 4 ? argv[3] : NULL;
  rq_status status;
  switch (rq_model_head(model)) {
    case RQ_HEAD_SEQUENCE_CLASSIFICATION: status = classify(session, text, second); break;
    case RQ_HEAD_TOKEN_CLASSIFICATION: status = tag(session, text); break;
    default: status = answer(session, text, second); break;
  }
  if (status != RQ_OK) {
    fprintf(stderr, "status %d: %s\n", (int)status, rq_session_message(session).data);
  }
  rq_session_free(session);
  rq_model_free(model);
  return status == RQ_OK ? 0 : 1;
}
