// rq in C++: models, sessions and lists that free themselves, and errors as exceptions.
//
//     fill MODEL.rq "She opened the <mask>."
#include "rq.h"

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace rq {

// What a function of `rq_..._free` frees.
template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T *pointer) const noexcept { Free(pointer); }
};

class Error : public std::runtime_error {
 public:
  Error(rq_status status, std::string_view message) : std::runtime_error(std::string(message)), status(status) {}
  rq_status status;
};

class Model {
 public:
  explicit Model(std::string_view path) {
    rq_message message;
    rq_model *opened = nullptr;
    if (rq_status status = rq_model_open(path.data(), path.size(), &message, &opened); status != RQ_OK) {
      throw Error(status, message.text);
    }
    model_.reset(opened);
  }
  const rq_model *get() const { return model_.get(); }

 private:
  std::unique_ptr<rq_model, Freed<rq_model_free>> model_;
};

struct Fill {
  std::size_t mask;
  float score;
  std::string token, sequence;
};

class Session {
 public:
  Session(const Model &model, std::size_t threads) {
    rq_message message;
    rq_session *made = nullptr;
    rq_session_options options{};  // zeros: the defaults
    options.size = sizeof options;
    options.threads = threads;
    if (rq_status status = rq_session_new(model.get(), &options, &message, &made); status != RQ_OK) {
      throw Error(status, message.text);
    }
    session_.reset(made);
  }

  std::vector<Fill> fill(std::string_view text, std::size_t top_k = 0) {
    rq_fill_options options{};
    options.size = sizeof options;
    options.top_k = top_k;
    rq_fill_list *raw = nullptr;
    if (rq_status status = rq_fill(session_.get(), text.data(), text.size(), &options, &raw); status != RQ_OK) {
      throw Error(status, rq_session_message(session_.get()).data);
    }
    std::unique_ptr<rq_fill_list, Freed<rq_fill_list_free>> list(raw);
    std::vector<Fill> fills;
    for (std::size_t i = 0; i < list->len; ++i) {
      const rq_fill_token &token = list->items[i];
      fills.push_back({token.mask, token.score, {token.token_str.data, token.token_str.len},
                       {token.sequence.data, token.sequence.len}});
    }
    return fills;
  }

 private:
  std::unique_ptr<rq_session, Freed<rq_session_free>> session_;
};

}  // namespace rq

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fputs("usage: fill MODEL.rq TEXT\n", stderr);
    return 2;
  }
  try {
    rq::Session session(rq::Model(argv[1]), 1);  // the session keeps its model alive
    for (const rq::Fill &fill : session.fill(argv[2], 3)) {
      std::printf("mask %zu  %6.2f %% %s\n", fill.mask + 1, 100 * fill.score, fill.token.c_str());
    }
    try {
      session.fill("There is nothing to fill.");
    } catch (const rq::Error &error) {
      std::printf("%s: %s\n", rq_status_name(error.status), error.what());
    }
  } catch (const rq::Error &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
