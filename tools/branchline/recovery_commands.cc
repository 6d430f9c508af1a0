// Subcommands for the day when a disk dies: backup, restore, reconcile, write-off.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "branch/replica/state.h"
#include "common/json/json_writer.h"
#include "common/record/value.h"
#include "common/store/anchor.h"
#include "common/store/backup.h"
#include "common/store/directory_owner.h"
#include "common/store/identity.h"
#include "common/store/keyspace.h"
#include "common/store/rocks_store.h"
#include "common/time/clock.h"
#include "master/ingest/ingest.h"
#include "tools/branchline/cluster.h"
#include "tools/branchline/commands.h"

namespace branchline {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kPoll{200};
constexpr int kNewsEvery = 10;  // polls: every two seconds

// The label's lines: "NAME ROLE", "line ID", "csn N".
std::string label_text(const std::string& label) {
  std::string out = label;
  for (size_t at = 0; (at = out.find('\n', at)) != std::string::npos;) out.replace(at, 1, ", ");
  return out;
}

std::string mib(uint64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

int run_create(const CommandContext& context, const std::string& name, const std::string& folder) {
  auto topology = load_topology(context.topology);
  if (!topology) return complain(topology.error());
  std::string body;
  JsonWriter w(body);
  w.begin_object().member("directory", folder).end_object();
  auto state = ask_server(*topology, name, context.token, "POST", "/admin/backup", body);
  for (int polls = 0; state && text_of(*state, "state") == "running"; ++polls) {
    if (polls % kNewsEvery == kNewsEvery - 1) {
      std::fprintf(stderr, "%s: %s copied after %llu s\n", name.c_str(),
                   mib(number_of(*state, "bytes")).c_str(),
                   static_cast<unsigned long long>(number_of(*state, "seconds")));
    }
    std::this_thread::sleep_for(kPoll);
    state = ask_server(*topology, name, context.token, "GET", "/admin/backup");
  }
  if (!state) return complain(state.error());
  if (text_of(*state, "state") != "done") {
    std::fprintf(stderr, "no backup was made: %s\n", text_of(*state, "problem").c_str());
    return 1;
  }
  if (context.json) {
    std::string out;
    put_json(out, *state);
    std::printf("%s\n", out.c_str());
  } else {
    std::printf("backup %llu of %s made in %s; check it with: branchline backup verify %s\n",
                static_cast<unsigned long long>(number_of(*state, "number")), name.c_str(),
                folder.c_str(), folder.c_str());
  }
  return 0;
}

void put_info(JsonWriter& w, const BackupInfo& b) {
  w.begin_object().member("number", uint64_t{b.number}).member("bytes", b.bytes);
  w.member("made", format_instant(b.made_s * 1000)).member("of", label_text(b.label)).end_object();
}

int run_list(const CommandContext& context, const std::string& folder) {
  auto all = list_backups(folder);
  if (!all) return complain(all.error());
  if (context.json) {
    std::string out;
    JsonWriter w(out);
    w.begin_object().key("backups").begin_array();
    for (const auto& b : *all) put_info(w, b);
    w.end_array().end_object();
    std::printf("%s\n", out.c_str());
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"BACKUP", "MADE", "SIZE", "OF"}};
  for (const auto& b : *all)
    rows.push_back({std::to_string(b.number), format_instant(b.made_s * 1000), mib(b.bytes),
                    label_text(b.label)});
  print_table(rows);
  return 0;
}

int run_verify(const CommandContext& context, const std::string& folder, uint32_t number) {
  auto info = check_backup(folder, number);
  if (!info) return complain(info.error());
  if (context.json) {
    std::string out;
    JsonWriter w(out);
    put_info(w, *info);
    std::printf("%s\n", out.c_str());
  } else {
    std::printf("backup %u is whole: every file has the checksum it was written with (%s, %s)\n",
                info->number, label_text(info->label).c_str(), mib(info->bytes).c_str());
  }
  return 0;
}

// How far a restored store's own log has come: a start that finds less of it has lost log files.
Result<Anchor> anchor_in(const Store& store, bool master) {
  BL_ASSIGN(auto row, store.get(Table::meta, keys::meta_state()));
  if (!row) return fail(ErrorKind::corrupt, "restore.no_state", "the backup's store has no state");
  if (!master) {
    BL_ASSIGN(auto s, decode_replica_state(*row));
    return Anchor{s.incarnation, s.order.value, chain_of(s.ends)};
  }
  BL_ASSIGN(auto s, decode_master_state(*row));
  BL_ASSIGN(auto own, store.get(Table::meta, keys::meta_origin(s.self)));
  if (!own)
    return fail(ErrorKind::corrupt, "restore.no_state", "the backup's master has no ledger");
  BL_ASSIGN(auto origin, decode_origin_state(*own));
  return Anchor{origin.latest, s.head.value, s.chain};
}

Result<BackupInfo> restore(const std::string& folder, uint32_t number, const std::string& data) {
  namespace fs = std::filesystem;
  std::error_code ec;
  for (const char* part : {"/store", "/anchor", "/ingest.attempt"}) {
    std::string path = data + part;
    if (!fs::exists(path, ec) || (fs::is_directory(path, ec) && fs::is_empty(path, ec))) continue;
    return fail(ErrorKind::conflict, "restore.not_empty",
                path +
                    " exists; restoring never writes over data. Move `store`, `anchor` and "
                    "`ingest.attempt` in " +
                    data + " away first (certificates and tokens may stay)");
  }
  // Under another name until it is whole: one that broke off is no store that could be started.
  std::string part = data + "/store.restoring";
  fs::remove_all(part, ec);
  BL_ASSIGN(BackupInfo info, restore_backup(folder, number, part));
  std::string first = info.label.substr(0, info.label.find('\n'));
  std::string server = first.substr(0, first.find(' '));
  bool master = first.ends_with(" master");
  BL_TRY(claim_directory(data, server));
  Anchor anchor;
  {
    BL_ASSIGN(auto store, RocksStore::open(part, {}));
    BL_TRY(check_store_identity(*store, master ? StoreRole::master : StoreRole::branch, part));
    Batch mark;
    // A master knows from its first start on that branches may be ahead of it.
    if (master)
      mark.put(Table::meta, keys::meta_restored(), encode_restored_mark({SystemClock().wall_ms()}));
    BL_TRY(store->write(mark, Sync::yes));
    BL_ASSIGN(anchor, anchor_in(*store, master));
  }
  fs::remove(data + "/store", ec);  // empty, or not there
  fs::rename(part, data + "/store", ec);
  if (ec) {
    return fail(ErrorKind::unavailable, "restore.directory",
                "cannot rename " + part + " to store: " + ec.message());
  }
  BL_TRY(write_anchor(data + "/anchor", anchor));  // syncs the folder, and so the name as well
  return info;
}

int run_reconcile(const CommandContext& context, bool close) {
  auto topology = load_topology(context.topology);
  if (!topology) return complain(topology.error());
  if (close) {
    auto done = ask_master(*topology, context.token, "POST", "/admin/reconcile/close");
    if (!done) return complain(done.error());
    std::string left;
    for (const auto& name : done->member("notWaitedFor")->items) left += " " + name.text;
    if (context.json) {
      std::string out;
      put_json(out, *done);
      std::printf("%s\n", out.c_str());
      return 0;
    }
    const Json* entered = done->member("lost");
    std::vector<Json::Member> lost = entered ? entered->members : std::vector<Json::Member>();
    for (const auto& [name, count] : lost) {
      std::printf("entered as lost: %s changes of %s, which nothing can fill in; it goes on now\n",
                  count.text.c_str(), name.c_str());
    }
    if (!left.empty()) {
      std::printf("not waited for any longer:%s. What they hold still counts when they return\n",
                  left.c_str());
    } else if (lost.empty()) {
      std::printf("every awaited branch is connected; it ends by itself\n");
    }
    return 0;
  }
  auto status = ask_master(*topology, context.token, "GET", "/admin/status");
  if (!status) return complain(status.error());
  const Json* r = status->member("reconciling");
  if (context.json) {
    std::string out = "{\"reconciling\":";
    if (r) {
      put_json(out, *r);
    } else {
      out += "null";
    }
    std::printf("%s}\n", out.c_str());
    return 0;
  }
  if (!r || !flag_of(*r, "open")) {
    std::printf("the master is not reconciling\n");
  } else {
    std::printf("reconciling since %s: %s\n", text_of(*r, "since").c_str(),
                text_of(*r, "why").c_str());
  }
  if (!r) return 0;
  for (const auto& name : r->member("awaited")->items)
    std::printf("  awaited: %s has not offered all its work again\n", name.text.c_str());
  for (const auto& name : r->member("notWaitedFor")->items)
    std::printf("  not waited for: %s has not come back yet\n", name.text.c_str());
  return 0;
}

}  // namespace

void add_backup_command(CLI::App& app, CommandContext& context) {
  auto* backup = app.add_subcommand("backup", "make, list and check backups of servers");
  backup->footer(
      "Examples:\n"
      "  branchline backup create --topology company.yaml chicago /backup/chicago\n"
      "  branchline backup verify /backup/chicago\n"
      "`branchline restore --help` tells the way back.");
  backup->require_subcommand(1);
  auto server = std::make_shared<std::string>();
  auto folder = std::make_shared<std::string>();
  auto number = std::make_shared<uint32_t>(0);
  auto* create = backup->add_subcommand(
      "create", "make a backup of a running server; it goes on serving meanwhile");
  add_server_access(*create, context);
  create->add_option("SERVER", *server, "its name in the topology")->required();
  create->add_option("FOLDER", *folder, "absolute, on that server's machine; one per server")
      ->required();
  create->footer(
      "The backup is the server's data at one moment. A second one into the same folder copies "
      "only "
      "what is new.\nIt holds all that the server knows, readable by the server's user only; "
      "certificates and keys are not in it.\nKeep it on another disk than the data.\n"
      "Example:\n  branchline backup create --topology company.yaml chicago /backup/chicago\n"
      "Exit codes: 0 made, 1 not made, 2 wrong use, 3 the server does not answer.");
  create->callback([&context, server, folder] {
    context.run = [&context, server, folder] { return run_create(context, *server, *folder); };
  });
  auto* list = backup->add_subcommand("list", "tell which backups a folder holds");
  list->add_option("FOLDER", *folder, "as given to create")->required();
  list->footer("Example:\n  branchline backup list /backup/chicago");
  list->callback([&context, folder] {
    context.run = [&context, folder] { return run_list(context, *folder); };
  });
  auto* verify =
      backup->add_subcommand("verify", "read every byte of a backup and compare checksums");
  verify->add_option("FOLDER", *folder, "as given to create")->required();
  verify->add_option("--number", *number, "which one; the newest unless given");
  verify->footer(
      "Example:\n  branchline backup verify /backup/chicago\n"
      "Exit codes: 0 whole, 1 damaged, 2 there is none.");
  verify->callback([&context, folder, number] {
    context.run = [&context, folder, number] { return run_verify(context, *folder, *number); };
  });
}

void add_restore_command(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("restore", "put a backup into an empty data directory");
  auto folder = std::make_shared<std::string>();
  auto data = std::make_shared<std::string>();
  auto number = std::make_shared<uint32_t>(0);
  command->add_option("FOLDER", *folder, "with backups")->required();
  command->add_option("DATA", *data, "the server's data directory; the server is stopped")
      ->required();
  command->add_option("--number", *number, "which backup; the newest unless given");
  command->footer(
      "Checks the backup first. Never writes over data: DATA/store must not exist.\n"
      "A branch gets back from the master what it had shipped since the backup; what it had not "
      "shipped is gone.\nA master gets back from its branches what they had part in; until all of "
      "them have come, `branchline reconcile` tells whom it waits for.\n"
      "Example:\n  branchline restore /backup/chicago /var/lib/branchline/chicago\n"
      "Exit codes: 0 restored, 1 the backup is damaged, 2 wrong use or DATA is not empty.");
  command->callback([&context, folder, data, number] {
    context.run = [&context, folder, data, number]() -> int {
      auto info = restore(*folder, *number, *data);
      if (!info) return complain(info.error());
      if (context.json) {
        std::string out;
        JsonWriter w(out);
        put_info(w, *info);
        std::printf("%s\n", out.c_str());
      } else {
        std::printf("restored backup %u (%s) into %s; now start the server\n", info->number,
                    label_text(info->label).c_str(), data->c_str());
      }
      return 0;
    };
  });
}

void add_reconcile_command(CLI::App& app, CommandContext& context) {
  auto* command =
      app.add_subcommand("reconcile", "tell whom a restored master waits for, or end the waiting");
  add_server_access(*command, context);
  auto close = std::make_shared<bool>(false);
  command->add_flag("--close", *close, "do not wait for those that are not connected");
  command->footer(
      "A master that was restored behind its branches goes on under a new line id. Branches offer "
      "again what they had part in since the backup.\nWhat builds on commits that the backup lacks "
      "is decided when every branch has come, in the order in which it was done.\nWith --close the "
      "absent are not waited for: what others built on their work may then be rejected into the "
      "inbox. Their own work still counts when they return.\n"
      "Examples:\n  branchline reconcile --topology company.yaml\n"
      "  branchline reconcile --topology company.yaml --close\n"
      "Exit codes: 0 told or closed, 2 nothing is open or wrong use, 3 the master does not "
      "answer.");
  command->callback([&context, close] {
    context.run = [&context, close] { return run_reconcile(context, *close); };
  });
}

void add_write_off_command(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand(
      "write-off", "enter a branch's unshipped work as lost: its last disk is gone for good");
  add_server_access(*command, context);
  auto server = std::make_shared<std::string>();
  command->add_option("SERVER", *server, "its name")->required();
  command->footer(
      "Nothing is waited for from that disk any longer, and it is refused should it return. A new "
      "server may join under the same name with an empty data directory.\n"
      "Only where the disk and every copy of it are gone: else bring it back, or restore it.\n"
      "Example:\n  branchline write-off --topology company.yaml chicago\n"
      "Exit codes: 0 written off, 2 it is connected, was never here or is written off, 3 the "
      "master "
      "does not answer.");
  command->callback([&context, server] {
    context.run = [&context, server]() -> int {
      auto topology = load_topology(context.topology);
      if (!topology) return complain(topology.error());
      auto done =
          ask_master(*topology, context.token, "POST", "/admin/write-off?server=" + *server);
      if (!done) return complain(done.error());
      std::printf("%s is written off; %llu changes that it had announced are entered as lost\n",
                  server->c_str(), static_cast<unsigned long long>(number_of(*done, "lost")));
      return 0;
    };
  });
}

}  // namespace branchline
