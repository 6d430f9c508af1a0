// A master or branch of this build on a disk that fails or a store that lies, or with the schema of
// another version: crash_server master|branch [--fault NAME] [--schema FILE].
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "branch/server/branch_server.h"
#include "common/program/command_line.h"
#include "common/schema/schema.h"
#include "master/server/master_server.h"
#include "tests/crash/lying_store.h"
#include "tests/support/unsynced_file_system.h"

namespace {

using namespace branchline;

constexpr const char* kFaults =
    "power-cut: what was not synced dies with the process. no-sync: the same, and nothing is "
    "synced before it is\n"
    "acknowledged. forget-high-water: a master does not keep what it has decided. lose-blocks: "
    "every 200th block of\n"
    "pending work is not written. abort-at:HEX: ends when a record with these bytes in its id is "
    "read. write-fails:FILE,\n"
    "sync-fails:FILE, full:FILE: from when FILE exists, writes or syncs of the log fail, or the "
    "disk is full.\n"
    "disk-room:FILE: the disk has as many bytes, and as many free ones, as FILE says.";

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

using OpenStore = std::function<Result<std::unique_ptr<Store>>(const std::string&)>;

OpenStore store_with(const std::string& fault) {
  std::string name = fault.substr(0, fault.find(':'));
  std::string argument =
      fault.find(':') == std::string::npos ? "" : fault.substr(fault.find(':') + 1);
  Lies lies;
  bool forget = name == "power-cut" || name == "no-sync";
  lies.never_sync = name == "no-sync";
  lies.forget_high_water = name == "forget-high-water";
  lies.lose_every_block = name == "lose-blocks" ? 200 : 0;
  if (name == "abort-at") lies.abort_at = from_hex(argument);
  auto disk = std::make_shared<DiskFault>();
  std::atomic<bool>* armed = name == "write-fails"  ? &disk->write_fails
                             : name == "sync-fails" ? &disk->sync_fails
                             : name == "full"       ? &disk->full
                                                    : nullptr;
  if (armed) {
    std::thread([disk, armed, argument] {
      while (!std::filesystem::exists(argument))
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      *armed = true;
    }).detach();
  }
  return [lies, disk, forget](const std::string& directory) -> Result<std::unique_ptr<Store>> {
    std::filesystem::create_directories(directory);
    std::shared_ptr<rocksdb::Env> env = UnsyncedFileSystem::make_env(disk, forget);
    RocksOptions options;
    options.env = env.get();
    BL_ASSIGN(auto real, RocksStore::open(directory, options));
    return std::make_unique<LyingStore>(std::move(real), lies, env);
  };
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A server with a planted fault, for tests."};
  std::string role, fault, schema;
  app.add_option("ROLE", role, "master or branch")->required();
  app.add_option("--fault", fault, kFaults);
  app.add_option("--schema", schema, "a file instead of the built-in schema");
  BranchConfig config;
  if (auto code = read_command_line(app, argc, argv, config)) return *code;
  if (!fault.empty()) config.open_store = store_with(fault);
  if (!schema.empty()) {
    std::ifstream in(schema);
    std::stringstream text;
    text << in.rdbuf();
    auto parsed = Schema::parse(text.str(), schema);
    if (!parsed) {
      std::fprintf(stderr, "%s\n", parsed.error().message.c_str());
      return 2;
    }
    config.schema = *parsed;
  }
  if (fault.starts_with("disk-room:")) {
    config.disk_room = [file = fault.substr(10)](const std::string&) -> std::optional<DiskRoom> {
      DiskRoom room;
      std::ifstream in(file);
      return in >> room.size >> room.free ? std::optional(room) : std::nullopt;
    };
  }
  return role == "master" ? run_master(config) : run_branch(config);
}
