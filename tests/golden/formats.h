// Every format that has golden bytes: what the encoder gives for the samples, and its decoder with
// the encoder behind it.
#pragma once

#include <functional>

#include "tests/golden/golden_file.h"

namespace branchline::golden {

// Decodes, and encodes what came out.
using Recode = std::function<Result<std::string>(std::string_view bytes)>;

struct Case {
  std::string name;
  std::string bytes;  // what the encoder gives
  Recode recode;      // null: nothing decodes it (keys that are only built, digests)
  // Whether it may be cut anywhere and still be valid: it ends in bytes of any length, or is
  // protobuf.
  bool open_ended = false;
  // Whether some of its bits mean nothing to us: protobuf's and zstd's own.
  bool foreign = false;
};

struct Format {
  std::string name;  // of its files: NAME.hex by the encoder, NAME.hand.hex by hand
  int version;       // raised with any change of the bytes
  std::string document;
  std::vector<Case> cases;
};

const std::vector<Format>& formats();

// The parts of it, one function per file.
std::vector<Format> store_formats();   // keys, rows, files on disk
std::vector<Format> record_formats();  // values, records, mutations, digests
std::vector<Format> line_formats();    // blocks of the main line
std::vector<Format> link_formats();    // frames and snapshots

}  // namespace branchline::golden
