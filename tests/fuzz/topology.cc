// A topology file: it is refused with a place in it for each mistake, or all that servers ask of it
// can be told.
#include "common/config/topology.h"

#include "tests/fuzz/target.h"

using namespace branchline;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(fuzz::text(data, size));
  auto topology = parse_topology(text, "f.yaml");
  if (!topology) {
    fuzz::require(topology.error().message.starts_with("f.yaml"));
    return 0;
  }
  fuzz::require(topology->master().kind == ServerKind::master);
  for (const auto& server : topology->servers) {
    fuzz::require(topology->server(server.name) != nullptr);
    if (server.kind == ServerKind::branch) {
      fuzz::require(topology->server(server.upstream) != nullptr);
    }
  }
  // Comments and layout do not count.
  auto again = parse_topology("# another file\n" + text, "f.yaml");
  if (again) fuzz::require(again->digest() == topology->digest());
  return 0;
}
