// The AttemptLog of a real master: a few bytes of a file mapped into memory. They survive the end
// of the process (the page belongs to the kernel), not a power cut, which needs no such memory.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "master/ingest/ingest.h"

namespace branchline {

class AttemptFile : public AttemptLog {
 public:
  // Opens or creates the file; what was being decided when the process ended last counts as one
  // crash.
  static Result<std::unique_ptr<AttemptFile>> open(const std::string& path);
  ~AttemptFile() override;

  void begin(const MutationId& id) override;
  void done() override;
  int crashes(const MutationId& id) const override;

 private:
  struct Page;
  AttemptFile() = default;
  Page* page_ = nullptr;
};

}  // namespace branchline
