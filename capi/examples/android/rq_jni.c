/* What Rq.kt calls. Not built by this project's tests.
 *
 * Texts come as UTF-8 bytes: JNI's own strings are a modified UTF-8 that rq would refuse.
 */
#include "rq.h"

#include <jni.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct handle {
  rq_session *session; /* keeps its model alive */
  jsize embedding_size;
} handle;

/* A string of rq for Kotlin, by its bytes: NewStringUTF reads the modified UTF-8. */
static jstring new_string(JNIEnv *env, const char *data, size_t len) {
  jbyteArray bytes = (*env)->NewByteArray(env, (jsize)len);
  if (bytes == NULL) return NULL;
  (*env)->SetByteArrayRegion(env, bytes, 0, (jsize)len, (const jbyte *)data);
  jclass type = (*env)->FindClass(env, "java/lang/String");
  jmethodID constructor = (*env)->GetMethodID(env, type, "<init>", "([BLjava/lang/String;)V");
  jstring name = (*env)->NewStringUTF(env, "UTF-8");
  jstring made = (*env)->NewObject(env, type, constructor, bytes, name);
  (*env)->DeleteLocalRef(env, bytes);
  (*env)->DeleteLocalRef(env, name);
  (*env)->DeleteLocalRef(env, type);
  return made;
}

static void throw_error(JNIEnv *env, rq_status status, const char *message) {
  jclass type = (*env)->FindClass(env, "org/example/rq/RqException");
  if (type == NULL) return;
  jmethodID constructor = (*env)->GetMethodID(env, type, "<init>", "(ILjava/lang/String;)V");
  jstring text = new_string(env, message, strlen(message));
  if (constructor == NULL || text == NULL) return;
  jobject error = (*env)->NewObject(env, type, constructor, (jint)status, text);
  if (error != NULL) (*env)->Throw(env, error);
}

JNIEXPORT jlong JNICALL Java_org_example_rq_Rq_nativeOpen(JNIEnv *env, jclass type, jint fd, jlong offset, jlong length,
                                                          jint threads) {
  (void)type;
  rq_message message;
  rq_model *model = NULL;
  rq_status status = rq_model_open_fd(fd, (uint64_t)offset, (uint64_t)length, &message, &model);
  if (status != RQ_OK) {
    throw_error(env, status, message.text);
    return 0;
  }
  rq_session_options options = {.size = sizeof options, .threads = (size_t)threads};
  rq_session *session = NULL;
  status = rq_session_new(model, &options, &message, &session);
  jsize embedding_size = (jsize)rq_model_embedding_size(model);
  rq_model_free(model);
  handle *made = status == RQ_OK ? malloc(sizeof *made) : NULL;
  if (made == NULL) {
    rq_session_free(session);
    throw_error(env, status, status == RQ_OK ? "no memory" : message.text);
    return 0;
  }
  made->session = session;
  made->embedding_size = embedding_size;
  return (jlong)(intptr_t)made;
}

JNIEXPORT jobjectArray JNICALL Java_org_example_rq_Rq_nativeFill(JNIEnv *env, jclass type, jlong pointer, jbyteArray text,
                                                                 jint top_k) {
  (void)type;
  handle *h = (handle *)(intptr_t)pointer;
  jsize len = (*env)->GetArrayLength(env, text);
  jbyte *bytes = (*env)->GetByteArrayElements(env, text, NULL);
  if (bytes == NULL) return NULL;
  rq_fill_options options = {.size = sizeof options, .top_k = (size_t)top_k};
  rq_fill_list *list = NULL;
  rq_status status = rq_fill(h->session, (const char *)bytes, (size_t)len, &options, &list);
  (*env)->ReleaseByteArrayElements(env, text, bytes, JNI_ABORT);
  if (status != RQ_OK) {
    throw_error(env, status, rq_session_message(h->session).data);
    return NULL;
  }
  jclass fill = (*env)->FindClass(env, "org/example/rq/Fill");
  jmethodID constructor = fill ? (*env)->GetMethodID(env, fill, "<init>", "(IFLjava/lang/String;)V") : NULL;
  jobjectArray fills = constructor ? (*env)->NewObjectArray(env, (jsize)list->len, fill, NULL) : NULL;
  for (size_t i = 0; fills != NULL && i < list->len; i++) {
    const rq_fill_token *item = &list->items[i];
    jstring token = new_string(env, item->token_str.data, item->token_str.len);
    if (token == NULL) break;
    jobject made = (*env)->NewObject(env, fill, constructor, (jint)item->mask, (jfloat)item->score, token);
    if (made == NULL) break;
    (*env)->SetObjectArrayElement(env, fills, (jsize)i, made);
    (*env)->DeleteLocalRef(env, made);
    (*env)->DeleteLocalRef(env, token);
  }
  rq_fill_list_free(list);
  return fills;
}

JNIEXPORT jfloatArray JNICALL Java_org_example_rq_Rq_nativeEmbed(JNIEnv *env, jclass type, jlong pointer, jbyteArray text) {
  (void)type;
  handle *h = (handle *)(intptr_t)pointer;
  jsize len = (*env)->GetArrayLength(env, text);
  float *embedding = malloc((size_t)h->embedding_size * sizeof *embedding);
  jbyte *bytes = (*env)->GetByteArrayElements(env, text, NULL);
  if (embedding == NULL || bytes == NULL) {
    free(embedding);
    return NULL;
  }
  rq_status status =
      rq_embed(h->session, (const char *)bytes, (size_t)len, NULL, embedding, (size_t)h->embedding_size, NULL);
  (*env)->ReleaseByteArrayElements(env, text, bytes, JNI_ABORT);
  jfloatArray floats = NULL;
  if (status != RQ_OK) {
    throw_error(env, status, rq_session_message(h->session).data);
  } else if ((floats = (*env)->NewFloatArray(env, h->embedding_size)) != NULL) {
    (*env)->SetFloatArrayRegion(env, floats, 0, h->embedding_size, embedding);
  }
  free(embedding);
  return floats;
}

JNIEXPORT void JNICALL Java_org_example_rq_Rq_nativeReserve(JNIEnv *env, jclass type, jlong pointer, jint tokens) {
  (void)type;
  handle *h = (handle *)(intptr_t)pointer;
  rq_status status = rq_session_reserve(h->session, (size_t)tokens);
  if (status != RQ_OK) throw_error(env, status, rq_session_message(h->session).data);
}

JNIEXPORT void JNICALL Java_org_example_rq_Rq_nativeClose(JNIEnv *env, jclass type, jlong pointer) {
  (void)env;
  (void)type;
  handle *h = (handle *)(intptr_t)pointer;
  rq_session_free(h->session);
  free(h);
}
