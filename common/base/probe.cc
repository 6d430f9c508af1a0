#include "common/base/probe.h"

namespace branchline {
namespace {

std::atomic<Probe*> head{nullptr};

}  // namespace

Probe::Probe(const char* name) : name_(name) {
  next_ = head.load();
  while (!head.compare_exchange_weak(next_, this)) {
  }
}

std::map<std::string, uint64_t> Probe::counts() {
  std::map<std::string, uint64_t> out;
  for (Probe* p = head.load(); p; p = p->next_) out[p->name_] += p->hits_.load();
  return out;
}

}  // namespace branchline
