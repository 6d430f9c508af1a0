// A mutation block: what is accepted must come out of the encoder and be accepted again, with the
// same canonical bytes.
#include "replication/line/mutation_block.h"

#include "tests/fuzz/target.h"

using namespace branchline;

namespace {

std::string canonical(const MutationBlock& block) {
  std::string out;
  Writer w(out);
  for (const auto& m : block.mutations) put_mutation(w, m);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto block = decode_mutation_block(std::string(fuzz::text(data, size)));
  if (!block) return 0;
  MutationBlockWriter writer;
  for (const auto& m : block->mutations) writer.add(m, 0);
  auto again = decode_mutation_block(writer.finish({}));
  fuzz::require(again.has_value());
  fuzz::require(canonical(*again) == canonical(*block));
  return 0;
}
