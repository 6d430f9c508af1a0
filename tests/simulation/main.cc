// Runs seeds and sums up; see README.md.
#include <CLI/CLI.hpp>

#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "common/base/probe.h"
#include "tests/simulation/scenario.h"

namespace {

using namespace branchline;

// Rare paths and faults that a run of many seeds must have reached.
constexpr const char* kExpected[] = {"fault: branch crash",
                                     "fault: master crash",
                                     "fault: partition",
                                     "fault: connection reset",
                                     "fault: slow line",
                                     "fault: stalled line",
                                     "fault: clock jump",
                                     "fault: bulk held back",
                                     "fault: disk rolled back",
                                     "fault: crash before the answer",
                                     "fault: master set back to an old copy",
                                     "fault: copy started",
                                     "seen: line replaced",
                                     "seen: copy refused",
                                     "seen: refused copy released",
                                     "seen: what two disks forgot",
                                     "seen: rolled-back disk",
                                     "seen: snapshot",
                                     "seen: snapshot resumed",
                                     "seen: join cut off",
                                     "seen: subscription changed",
                                     "seen: branch lapsed",
                                     "seen: batches trimmed",
                                     "seen: session by a hub",
                                     "seen: session by two hubs",
                                     "seen: block sent once for several",
                                     "fault: another upstream",
                                     "fault: territory added",
                                     "fault: territory removed",
                                     "fault: 31 days without a link",
                                     "replayed at the same office",
                                     "retried under the same key",
                                     "merges: redirects",
                                     "fates: merged",
                                     "fates: overridden",
                                     "fates: rejected",
                                     "seen: grants",
                                     "policies: conflicts",
                                     "policies: open conflicts",
                                     "policies: asked",
                                     "policies: first_stands",
                                     "policies: refused locally: write.share_exceeded",
                                     "moves",
                                     "children given away",
                                     "merges across territories",
                                     "checked: a record that is elsewhere",
                                     "fault: master upgraded",
                                     "fault: office upgraded",
                                     "fault: office upgraded before its master",
                                     "upgraded with work pending",
                                     "versions: a field whose policy changes",
                                     "versions: new fields",
                                     "versions: new records",
                                     "fault: byte flipped in a replica",
                                     "mended: records",
                                     "seen: answer of verification beneath a hub",
                                     "checked: a badge",
                                     "seen: office of the version before at the end"};
constexpr const char* kProbes[] = {"accept.joined_bulk",
                                   "verify.record_mended",
                                   "verify.index_mended",
                                   "verify.searched",
                                   "verify.sums_differ",
                                   "repair.pending_redone",
                                   "accept.joined_bulk_by_effects",
                                   "seed.resumed",
                                   "seed.found_at_start",
                                   "seed.kept_copied",
                                   "seed.pending_replayed",
                                   "seed.pending_retired",
                                   "seed.pending_beyond_subscription",
                                   "retention.lapsed",
                                   "retention.trimmed",
                                   "session.seeded_anew_after_lapse",
                                   "apply.pending_redone",
                                   "apply.forecast_changed",
                                   "apply.forecast_put_back",
                                   "apply.original_forecast_put_back",
                                   "apply.forgotten_mutation",
                                   "apply.clock_clamped",
                                   "ingest.duplicate_operation",
                                   "ingest.clock_clamped",
                                   "ingest.block_of_old_session",
                                   "ingest.held_back",
                                   "identity.line_replaced",
                                   "identity.reconciled",
                                   "identity.rolled_back",
                                   "identity.copy_refused",
                                   "identity.other_alive",
                                   "identity.joins_before_it_offers",
                                   "identity.admitted",
                                   "keep.line_left",
                                   "seed.line_changed",
                                   "merge.latest_won",
                                   "merge.latest_lost",
                                   "merge.group_concurrent",
                                   "merge.revived_by_edit",
                                   "merge.revived_by_child",
                                   "merge.delete_overridden",
                                   "merge.cycle",
                                   "merge.asked",
                                   "merge.agreed",
                                   "merge.conflict_resolved",
                                   "merge.first_stood",
                                   "merge.ends_are_one",
                                   "merge.ends_resolved",
                                   "merge.redirected_edit",
                                   "merge.survivor_stays",
                                   "merge.delete_of_redirect",
                                   "merge.revived_by_merge",
                                   "merge.lookup_led_to_survivor",
                                   "merge.move_won",
                                   "merge.move_lost",
                                   "ingest.by_file",
                                   "ingest.arrival_echoed",
                                   "apply.record_left",
                                   "apply.unplaced_found_its_record",
                                   "apply.forecast_of_record_that_left",
                                   "merge.territories_united",
                                   "merge.merged_follows",
                                   "apply.merged_away"};

// A seed takes less than a second; what takes this long, of the processor and not of a busy
// machine, has no end.
constexpr itimerval kLongest{{0, 0}, {120, 0}};
uint64_t seed_under_way = 0;

void no_end(int) {
  char text[64];
  int n = std::snprintf(text, sizeof text, "seed %llu FAILED: it has no end\n",
                        static_cast<unsigned long long>(seed_under_way));
  [[maybe_unused]] auto written = write(STDOUT_FILENO, text, static_cast<size_t>(n));
  std::_Exit(1);
}

// A mistake that ends the process is found too.
void found_by_ending(int) {
  constexpr char text[] = "found the planted bug: the process would have ended\n";
  [[maybe_unused]] auto n = write(STDOUT_FILENO, text, sizeof text - 1);
  std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Seeded simulation of a master and four branches: faults, then agreement"};
  uint64_t seeds = 20, first = 1;
  sim::ScenarioOptions options;
  std::string bug, bug_of_build;
  app.add_option("--seeds", seeds, "how many seeds to run")->capture_default_str();
  app.add_option("--first", first, "the first seed")->capture_default_str();
  app.add_option("--operations", options.operations, "operations per seed")->capture_default_str();
  app.add_option("--faults", options.faults, "faults per seed")->capture_default_str();
  app.add_option("--moves", options.moves,
                 "the share of operations that are moves and what meets them")
      ->capture_default_str();
  app.add_option("--upgrades", options.upgrades,
                 "the share of seeds in which servers are upgraded to another schema")
      ->capture_default_str();
  app.add_option("--couriers", options.couriers,
                 "the share of seeds in which files travel beside the links")
      ->capture_default_str();
  app.add_option("--bug", bug, "plant a bug and demand that it is found")
      ->check(CLI::IsMember({"dedupe-off", "cursor-outside-batch", "sync-off"}));
  app.add_option(
      "--must-find", bug_of_build,
      "this program has a mistake of that name (planted/): exit 0 only when a seed fails");
  app.add_flag("--verbose", options.verbose, "tell what happens");
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGPROF, no_end);
  if (!bug_of_build.empty()) {
    std::signal(SIGABRT, found_by_ending);
    std::signal(SIGSEGV, found_by_ending);
  }
  bool planted = !bug.empty() || !bug_of_build.empty();
  const std::string& name_of_bug = bug.empty() ? bug_of_build : bug;
  if (bug == "dedupe-off") options.bug = sim::Bug::dedupe_off;
  if (bug == "cursor-outside-batch") options.bug = sim::Bug::cursor_outside_batch;
  if (bug == "sync-off") options.bug = sim::Bug::sync_off;

  std::map<std::string, uint64_t> counts;
  uint64_t failures = 0;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    setitimer(ITIMER_PROF, &kLongest, nullptr);
    seed_under_way = seed;
    sim::Outcome outcome = sim::run_scenario(seed, options);
    for (const auto& [name, n] : outcome.counts) counts[name] += n;
    if (outcome.failure.empty()) continue;
    ++failures;
    if (planted) {
      std::printf("found the planted bug %s with seed %llu (%llu of %llu): %s\n",
                  name_of_bug.c_str(), static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(seed - first + 1),
                  static_cast<unsigned long long>(seeds), outcome.failure.c_str());
      return 0;
    }
    std::printf("seed %llu FAILED: %s\n  repeat it: simulation --first %llu --seeds 1 --verbose\n",
                static_cast<unsigned long long>(seed), outcome.failure.c_str(),
                static_cast<unsigned long long>(seed));
    if (failures >= 5) break;
  }
  if (planted) {
    std::printf("the planted bug %s was NOT found in %llu seeds\n", name_of_bug.c_str(),
                static_cast<unsigned long long>(seeds));
    return 1;
  }
  std::printf("%llu seeds, %llu failed\n", static_cast<unsigned long long>(seeds),
              static_cast<unsigned long long>(failures));
  for (const auto& [name, n] : counts)
    std::printf("  %-50s %12llu\n", name.c_str(), static_cast<unsigned long long>(n));
  auto probes = Probe::counts();
  for (const auto& [name, n] : probes)
    std::printf("  probe %-44s %12llu\n", name.c_str(), static_cast<unsigned long long>(n));
  bool missing = false;
  if (seeds >= 100 && failures == 0) {
    for (const char* name : kExpected) {
      if (counts[name] == 0) std::printf("never happened: %s\n", name), missing = true;
    }
    for (const char* name : kProbes) {
      if (probes[name] == 0) std::printf("never reached: %s\n", name), missing = true;
    }
  }
  return failures > 0 || missing ? 1 : 0;
}
