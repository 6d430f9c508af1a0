// What the machine could do at best, measured by the same client, with the same store and the same
// keys. Each floor runs in a process of its own: these functions are what that process does.
#pragma once

#include <cstdint>
#include <string>

namespace branchline::bench {

// A bare Beast server on one thread: answers GET with `body_bytes` of JSON and PATCH with 204,
// after reading the body. Runs until SIGTERM.
int run_responder(uint16_t port, size_t body_bytes);

struct StoreFloor {
  std::string store;  // a copy of a branch's store, with contacts and some pending changes
  int threads = 1;
  double seconds = 1;
  uint64_t operations = 0;  // instead of seconds
  uint32_t group = 1;       // operations per synced batch
};
// Raw synced batches of the keys that a change writes: the record, its status index (where it
// changed), its operation key, the outbox block and the state. Prints
// {"rate":..,"p50_us":..,"peak_bytes":..}.
int run_store_floor(const StoreFloor& floor);

// Echoes what it gets: the round trip of a line and nothing else.
int run_echo(const std::string& host, uint16_t port);

}  // namespace branchline::bench
