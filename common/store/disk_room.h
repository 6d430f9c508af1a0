// How much room the disk has, and when it is too little to promise anything (FACTS: a full disk
// leaves a store stuck).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace branchline {

// Of the file system that holds a directory, in bytes.
struct DiskRoom {
  uint64_t size = 0;
  uint64_t free = 0;
};

// Nothing where the disk cannot be asked.
std::optional<DiskRoom> disk_room(const std::string& directory);

// Whether new work must be refused: less than a tenth is free, of a large disk less than 2 GiB, of
// a small one less than 128 MiB.
// What is left is for finishing what was accepted.
bool nearly_full(const DiskRoom& room);

}  // namespace branchline
