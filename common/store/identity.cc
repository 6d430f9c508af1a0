#include "common/store/identity.h"

#include <cstdlib>

#include "common/store/keyspace.h"

namespace branchline {
namespace {

constexpr std::string_view kName = "branchline ";

}  // namespace

std::string store_identity(std::string_view role) {
  return std::string(kName) + std::string(role) + " " + std::to_string(kStoreFormat);
}

Result<void> check_store_identity(const StoreView& store, std::string_view role, const std::string& directory) {
  BL_ASSIGN(auto row, store.get(Table::meta, keys::meta_identity()));
  if (!row || *row == store_identity(role)) return {};
  std::string prefix = std::string(kName) + std::string(role) + " ";
  if (!row->starts_with(kName)) {
    return fail(ErrorKind::corrupt, "store.identity", directory + " is no Branchline data directory, or is damaged");
  }
  if (!row->starts_with(prefix)) {
    return fail(ErrorKind::invalid, "store.other_role", directory + " is another kind of server's data directory (" + *row + ")");
  }
  return fail(ErrorKind::invalid, "store.format",
              directory + " has store format " + row->substr(prefix.size()) + ", this program knows format " +
                  std::to_string(kStoreFormat) + " only: it was written by another version; start that one");
}

}  // namespace branchline
