// A master and branches as users run them, on loopback, with lines before two of them: of 80 ms
// and 20 Mbit/s, unless told otherwise.
//
//   hq ── master ──wan── office      all hold the one territory
//                  ──wan── second
//
// Or, for tools that count sessions, as many offices as asked for, without lines: five to a
// district, each holding its district's territory and one of its own.
//
// With tunnels, office and second live in ends a of one each, everything else in the b of both.
// Nothing is paced unless the topology tells the rate of the lines.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/json/json.h"
#include "tools/benchmarks/process.h"
#include "tools/branchline/http_client.h"
#include "tools/wan/ends.h"

namespace branchline::bench {

struct FleetOptions {
  std::string folder;  // where everything is kept; emptied by the caller
  uint32_t contacts = 200'000;
  std::vector<std::pair<std::string, std::string>> environment;  // of the servers
  std::function<void(const std::string&)> progress;
  bool tunnel = false;
  std::string round_trip = "80ms", rate = "20Mbit";  // of both lines
  bool rate_in_topology = false;
  uint32_t offices =
      0;  // so many instead of hq, office and second; none is started, nothing loaded
};

class Fleet {
 public:
  // Certificates, topology, master and hq, the token, the contacts; of offices only the master and
  // the token.
  explicit Fleet(FleetOptions options);
  ~Fleet();

  // Starts a branch and waits until it has all there is. Nothing to do where it runs.
  void start(const std::string& server);
  // All of them at once.
  void start_all(const std::vector<std::string>& servers);
  void stop(const std::string& server);
  bool runs(const std::string& server) { return processes_.count(server) > 0; }
  Process& process(const std::string& server) { return processes_.at(server); }
  // What puts a command to where a server is; empty without tunnels.
  std::vector<std::string> place(const std::string& server) const;
  // With tunnels: where others reach what listens at the master's.
  static constexpr const char* kMasterAddress = "192.0.2.2";
  const wan::Descriptor& network(const std::string& server) const {
    return networks_.at(server == "office" || server == "second" ? server : "");
  }
  uint16_t port(const std::string& server) const { return ports_.at(server).http; }
  std::string store(const std::string& server) const {
    return options_.folder + "/" + server + "/store";
  }
  const std::string& folder() const { return options_.folder; }

  // A POST to the line's control: "/down", "/up", "/set?rtt=0ms&rate=0".
  Json line(const std::string& server, const std::string& request);
  Json line_stats(const std::string& server);

  Json status(const std::string& server);
  uint64_t pending(const std::string& server);
  bool connected(const std::string& server);
  // All of them stand where the master does, nothing is pending, and the checksums of what they
  // hold are the same.
  bool agree(const std::vector<std::string>& branches);
  void wait_until(const std::function<bool()>& condition, double seconds, const std::string& what,
                  double pause = 0.02);
  void settle(const std::vector<std::string>& branches);

  const std::string& auth() const { return auth_; }  // a header line
  const std::vector<std::string>& contacts() const { return ids_; }
  // New ones, without keys; their ids. Where a server holds several territories, one must be named.
  std::vector<std::string> create_contacts(const std::string& server, uint64_t count, uint64_t seed,
                                           const std::string& territory = {});

  static constexpr size_t kDistrict = 5;  // offices
  const std::vector<std::string>& branches() const { return branches_; }
  static std::string district(size_t office);

 private:
  struct Ports {
    uint16_t http = 0, admin = 0, link = 0, wan = 0, control = 0;
  };
  void start_line(const std::string& server);
  void write_topology();
  void make_certificates();
  void load_contacts();
  Json ask(uint16_t port, const std::string& token, const std::string& method,
           const std::string& target, const std::string& body = {});
  void launch(const std::string& server);
  void wait_for_join(const std::string& server);
  std::string token_of(const std::string& server);

  FleetOptions options_;
  std::vector<std::string> branches_;
  std::map<std::string, Ports> ports_;
  std::map<std::string, wan::Descriptor> networks_;  // of office, second and (empty) the rest
  std::map<std::string, Process> processes_, lines_;
  std::map<uint16_t, HttpClient> clients_;
  std::map<std::string, std::string> tokens_;
  std::string auth_;
  std::vector<std::string> ids_;
};

}  // namespace branchline::bench
