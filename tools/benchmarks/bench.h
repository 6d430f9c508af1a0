// What all figures share: options, the fleet, floors' processes, the results.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/benchmarks/fleet.h"
#include "tools/benchmarks/http_load.h"

namespace branchline::bench {

struct Options {
  std::vector<std::string> only;
  bool quick = false;
  std::string json_file;
  int64_t slow_fsync_us = 0;
  std::string folder;  // a temporary one by default
  // The line is of packets between network namespaces (`branchline-wan tun`), not a proxy.
  bool tunnel = false;
  std::string lanes_rate = "8Mbit";  // of the line that people and an import share

  uint32_t contacts() const { return quick ? 20'000 : 200'000; }
  uint32_t pending() const { return quick ? 20'000 : 200'000; }
  uint32_t memory_pending() const { return quick ? 100'000 : 1'000'000; }
  int alternations = 0;  // 0: as many as fit
  int rounds() const { return alternations > 0 ? alternations : quick ? 3 : 7; }
  double seconds() const { return quick ? 0.7 : 1.5; }
  double live_seconds() const { return quick ? 8 : 60; }
  double scale_seconds() const { return quick ? 10 : 30; }
};

struct Figure {
  std::string name;
  double value = 0;
  std::string unit;
  double floor = 0;
  double ratio = 0;
  std::string goal;
  bool met = false;
};

class Bench {
 public:
  explicit Bench(Options options);
  ~Bench();

  const Options& options() const { return options_; }
  // Of a tunnel, only what goes over one is measured.
  bool wants(const std::string& name) const;
  bool wants_any(const std::vector<std::string>& names) const;
  Fleet& fleet();
  void end_fleet() { fleet_.reset(); }
  void say(const std::string& text) const;
  // Figures of a tunnel have `.tun` behind their name, and bytes there no goal: they count what no
  // proxy sees.
  void add(Figure figure);
  // After a failure: its logs stay, and the folder is named.
  void keep_folder();
  const std::vector<Figure>& figures() const { return figures_; }

  // The environment of everything that syncs.
  std::vector<std::pair<std::string, std::string>> disk_environment() const;
  // This program as a floor: `arguments` behind its name.
  // `place`: what starts it elsewhere.
  Process floor(const std::vector<std::string>& arguments, bool capture,
                const std::vector<std::string>& place = {}) const;
  // A copy of office's store with pending changes; made once.
  const std::string& floor_store();
  Json store_floor(int threads, double seconds, uint32_t group = 1, uint64_t operations = 0);

  // A PATCH of the 4 fields, or of one phone number, of a random contact. Every one has an
  // operation key.
  void append_edit(std::string& out, int connection, bool phone);
  LoadResult edit(const std::string& server, int connections, double seconds, uint64_t requests,
                  bool phone = false);
  // Leaves `count` changes waiting at `server`, whose line is down.
  void pend(const std::string& server, uint64_t count, bool phone = false);
  // Of a tunnel, once the server has noticed: nobody tells it.
  void line_down(const std::string& server);
  void line_up(const std::string& server);  // 80 ms, 20 Mbit/s
  // Lets everything arrive, at once.
  void drain(const std::vector<std::string>& branches);
  uint64_t next_number() { return ++number_; }
  uint64_t last_number() const { return number_; }

 private:
  Options options_;
  std::unique_ptr<Fleet> fleet_;
  std::string floor_store_;
  std::vector<Figure> figures_;
  uint64_t number_ = 0;
  std::map<int, uint64_t> keys_;  // each connection is a client that counts its own operations
  std::string body_, headers_;
  bool keep_ = false;
};

double number(const Json& object, const char* name);

// 500 changes a second at the office, whose line is up, until head office shows the last.
struct Lag {
  double p50_ms = 0, p99_ms = 0;
  double bytes = 0;  // per change, both ways
};
Lag live_lag(Bench& bench, double seconds);

// Each measures what is wanted of its names.
void measure_reads(Bench& bench);
void measure_writes(Bench& bench);
void measure_live(Bench& bench);
void measure_catchup(Bench& bench);
void measure_memory(Bench& bench);
// Last: these start servers of their own instead of the fleet.
void measure_lanes(Bench& bench);
void measure_scale(Bench& bench);

// Measures what stdin asks for, a line each, and answers each on stdout with a line of JSON:
//   pids                     {"office":[..],"head":[..]}
//   write CLIENTS SECONDS    {"rate","p50_us","p99_us"}     the line is down
//   drain                    {}                             until all servers agree
//   live SECONDS             {"p50_ms","p99_ms","bytes"}
//   catchup link|loopback N  {"rate","decided_rate","bytes"}
// tools/benchmarks/peers takes turns with it.
int run_subject(Bench& bench);
// Contacts and changes as lines of JSON on stdout, for those that are no fleet.
int print_data(uint32_t contacts, uint32_t changes);

}  // namespace branchline::bench
