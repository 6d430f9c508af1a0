// Sessions of both ends over lines that the test moves frame by frame, and what they do as text.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "replication/session/backoff.h"
#include "replication/session/branch_session.h"
#include "replication/session/master_session.h"
#include "tests/support/small_world.h"

namespace branchline {

// Runs one transcript's commands; tests/transcripts/README.md lists them.
class SessionLab {
 public:
  SessionLab();
  ~SessionLab();
  // One command of one line; what happened, line by line.
  std::string run(const std::string& command);

 private:
  struct Link;
  using Args = std::vector<std::string>;

  void say(const std::string& line) { out_ += line + "\n"; }
  SmallOffice& office(const std::string& name);
  Link& link(const std::string& name);
  bool world_command(const Args& a, const std::string& rest);
  bool line_command(const Args& a, const std::string& rest);
  void dial(const std::string& name, const Args& lies);
  void deliver(const std::string& name, bool up);
  void receive_at_branch(Link& l, const std::string& bytes);
  void receive_at_master(const std::shared_ptr<Link>& l, const std::string& bytes);
  void perform(Link& l, BranchEffects e);
  void perform(const std::shared_ptr<Link>& l, MasterEffects e);
  void decide(size_t blocks);
  void tick(int64_t us);
  void tell_line();
  void forge(const std::string& name);
  void show_state();
  void backoff(const Args& a);
  std::string describe(Link& l, const Frame& frame, bool up);
  std::string crafted(Link& l, const Args& a);
  std::string stream_name(const Stream& s);
  std::string fates_text(const std::vector<FateEntry>& fates);

  std::unique_ptr<SmallWorld> world_;
  std::map<std::string, std::shared_ptr<Link>> links_;
  std::vector<std::shared_ptr<Link>> all_;
  struct Queued {
    std::shared_ptr<Link> from;
    std::string bytes;
  };
  std::deque<Queued> ingest_;
  std::map<std::string, MemStore::Tables> saved_;
  std::map<Incarnation, size_t> starts_;
  std::map<std::string, bool> reseed_;
  SnapshotShelf shelf_;
  uint64_t snapshots_ = 0;
  int64_t now_us_ = 1'000'000;
  bool quiet_ = false;
  std::string out_;
};

}  // namespace branchline
