// Backups of a store: a folder of table files, each with its checksum and shared by the backups
// that need it, so that a further one copies what is new. Written by RocksDB's BackupEngine.
#pragma once

#include <string>
#include <vector>

#include "common/store/store.h"

namespace rocksdb {
class DB;
}

namespace branchline {

struct BackupInfo {
  uint32_t number = 0;
  int64_t made_s = 0;  // Unix time
  uint64_t bytes = 0;
  std::string label;
};

// Of all that are complete, oldest first. `not_found` where the folder holds none.
Result<std::vector<BackupInfo>> list_backups(const std::string& directory);
// Reads every byte of a backup (0: of the newest) and compares checksums.
Result<BackupInfo> check_backup(const std::string& directory, uint32_t number);
// Checks it, then puts its files into `target`, which must not exist or be empty: `conflict`
// otherwise.
Result<BackupInfo> restore_backup(const std::string& directory, uint32_t number,
                                  const std::string& target);

// For RocksStore.
Result<uint32_t> add_backup(rocksdb::DB& db, const BackupRequest& request);

}  // namespace branchline
