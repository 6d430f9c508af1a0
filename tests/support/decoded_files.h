// Every byte that a server's data directory holds, decoded: what a thief of its disk could read.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace branchline {

// Calls `visit(file, bytes)` for each key and value of each table file (deleted and overwritten
// ones that are still in it included as far as the table's iterator shows them), each record of
// each write-ahead log with its fragments put together, and the bytes of every other file as they
// are. The server must not run. Throws std::runtime_error where a file cannot be read: an
// unreadable file proves nothing.
void for_each_decoded(
    const std::string& data_directory,
    const std::function<void(const std::string& file, std::string_view bytes)>& visit);

}  // namespace branchline
