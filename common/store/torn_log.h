// What a power cut leaves of a write-ahead log: its length may be on the disk before its last pages
// are, and those read as zeros. RocksDB takes such a log for damaged where the pages are missing in
// its last record, and would pass over them where later ones are there.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/error.h"

namespace rocksdb {
class Env;
}

namespace branchline {

// Cuts the last log of the store in `directory` to its whole records, where pages are missing
// behind them: what was synced is before these. Any other damage (a record that is wrong and has no
// missing page) is left to RocksDB, which refuses it. Takes the store's lock meanwhile; does
// nothing where another process has it. Returns how many bytes were cut. Errors: as the file system
// says. Format: https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format
Result<uint64_t> cut_torn_log(rocksdb::Env& env, const std::string& directory);

}  // namespace branchline
