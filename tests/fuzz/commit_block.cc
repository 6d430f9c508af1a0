// A commit block: what is accepted must come out of the encoder and be accepted again, with the
// same digests.
#include "replication/line/commit.h"

#include "tests/fuzz/target.h"

using namespace branchline;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto block = decode_commit_block(std::string(fuzz::text(data, size)));
  if (!block) return 0;
  CommitBlockWriter writer;
  for (const auto& c : block->commits) writer.add(c);
  auto again = decode_commit_block(writer.finish());
  fuzz::require(again.has_value() && again->commits.size() == block->commits.size());
  Sha256 sha;
  for (size_t i = 0; i < block->commits.size(); ++i) {
    fuzz::require(commit_digest(sha, {}, block->commits[i]) ==
                  commit_digest(sha, {}, again->commits[i]));
  }
  return 0;
}
