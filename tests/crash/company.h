// A company of real processes on loopback: a master, branches, and a branchline-wan before each
// branch that has a line. Where a branch has a tunnel, all live in networks of their own: each
// branch with a tunnel in its end a, everything else in the end b that all tunnels share.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/crash/http.h"
#include "tests/crash/process.h"

namespace branchline::crash {

struct BranchPlan {
  std::string name;
  std::vector<std::string> territories;  // empty: all
  std::string rtt;                       // empty: no emulator, it dials the master itself
  std::string rate;                      // empty: as fast as it goes
  std::vector<std::string> tunnel{};     // instead: options of `branchline-wan tun`; needs root
  std::string upstream{"master"};        // or another branch, which then has a `link`
};

struct CompanyPlan {
  std::vector<std::string> territories{"common"};
  std::vector<BranchPlan> branches{{"left", {}, "20ms", ""}, {"right", {}, "20ms", ""}};
  std::string folder;       // where everything is kept; it exists
  std::string data_folder;  // of the servers; empty: `folder`
  std::string log_level = "info";
  // Of a company that was recorded: its topology file, and the addresses in it. The master has the
  // ports port + 1 (links) and port + 2 (operators), the n-th branch port + 10 n + 1 (clients) and
  // port + 10 n + 2.
  std::string topology;
  std::string host;
  uint16_t port = 0;
};

class Company {
 public:
  // Writes topology and certificates; nothing runs yet.
  explicit Company(CompanyPlan plan);
  ~Company();

  // The next starts of `server` run this program of the build (empty: the product's) with these
  // options added.
  void set_program(const std::string& server, const std::string& program_name,
                   std::vector<std::string> options);

  // Starts all lines and servers, makes an administrator's token that is good at every branch.
  void start_all();
  void start(const std::string& server);
  void start_line(const std::string& branch);
  // Waits until it answers: a branch that has its data, or the master.
  void wait_ready(const std::string& server);
  bool answers(const std::string& server);
  void make_token();
  const std::string& token() const { return token_; }

  Process& process(const std::string& server);
  bool has(const std::string& server) const { return processes_.count(server) > 0; }
  void kill(const std::string& server);  // SIGKILL, and waits
  // SIGTERM; throws Failure unless it ends with 0.
  void stop(const std::string& server);
  void stop_all();
  std::vector<std::string> servers() const;

  // A client of an office; `token` empty: the administrator's.
  std::unique_ptr<Http> office(const std::string& branch,
                               std::atomic<int>* in_flight = nullptr) const;
  Json office_get(const std::string& branch, const std::string& target) const;
  // With the server's own operator token, so also of a branch that has no data yet.
  Json admin_get(const std::string& server, const std::string& target) const;
  // POST to a line's control: "/down", "/up", "/set?stall=true".
  void line(const std::string& branch, const std::string& order);
  Json line_stats(const std::string& branch) const;
  uint64_t pending(const std::string& branch) const;
  // Bytes shipped to the master and not acknowledged by it.
  uint64_t unacknowledged(const std::string& branch) const;

  // Until nothing is pending anywhere and all stand at the master's commit.
  void wait_drained(std::chrono::seconds patience = std::chrono::seconds(120));
  // `branchline audit`: 0 if every ledger is true and all servers agree; what it printed.
  Finished audit() const;

  std::string host() const { return host_; }
  std::string operator_token(const std::string& server) const;
  uint16_t admin_port(const std::string& server) const { return seats_.at(server).admin; }
  uint16_t http_port(const std::string& branch) const { return seats_.at(branch).http; }
  std::string data(const std::string& server) const { return plan_.data_folder + "/" + server; }
  std::string log_file(const std::string& server) const {
    return plan_.folder + "/" + server + ".log";
  }
  std::string log(const std::string& server) const { return read_file(log_file(server)); }
  std::string topology() const { return plan_.folder + "/topology.yaml"; }

 private:
  struct Seat {
    bool master = false;
    uint16_t http = 0, admin = 0, link = 0, line = 0, control = 0;
    std::string program;
    std::vector<std::string> options;
    bool tunnel = false;
    bool hub = false;
  };
  // Of a company with tunnels: the line that `server` is at, and its network (null: this one).
  std::string line_name(const std::string& server) const;
  const wan::Descriptor* network(const std::string& server) const;
  // What puts a program to where `server` is.
  std::vector<std::string> place(const std::string& server) const;
  void start_tunnel(const BranchPlan& branch);
  void write_topology();
  void make_certificates();

  CompanyPlan plan_;
  std::string host_;
  std::map<std::string, Seat> seats_;
  std::string first_tunnel_;                         // the branch; empty: no networks
  std::map<std::string, wan::Descriptor> networks_;  // of branches with a tunnel; "" is end b
  std::map<std::string, std::unique_ptr<Process>> processes_;
  std::map<std::string, std::unique_ptr<Process>> lines_;
  std::string token_;
};

// Value of a number in a JSON object; 0 where it is not there.
uint64_t number_in(const Json& object, std::string_view name);
std::string text_in(const Json& object, std::string_view name);

}  // namespace branchline::crash
