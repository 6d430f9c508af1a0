// crash_tests: kill -9 under load, and (with --power-cut) a file system that forgets what was not
// synced.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <random>

#include "tests/crash/campaign.h"
#include "tests/crash/power_cut.h"

namespace {

using namespace branchline::crash;

std::string make_folder(const std::string& wanted) {
  if (!wanted.empty()) {
    std::filesystem::create_directories(wanted);
    return wanted;
  }
  std::string name = (std::filesystem::temp_directory_path() / "branchline-crash-XXXXXX").string();
  if (!::mkdtemp(name.data())) fail_with("no temporary folder");
  return name;
}

// A server that was just killed may still be renaming a file.
void forget(const std::string& folder) {
  std::error_code ignored;
  for (int i = 0; i < 3 && std::filesystem::exists(folder, ignored); ++i)
    std::filesystem::remove_all(folder, ignored);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Runs a master and two branches as processes, each branch behind a line of 20 ms, with "
      "clients that know what they\n"
      "were promised; kills servers at random moments and holds them to it "
      "(tests/crash/README.md)."};
  CampaignOptions options;
  std::string folder, image, mount;
  bool random_seed = false;
  std::vector<std::string> expected;
  std::vector<std::string> faults;
  app.add_option("--cycles", options.cycles, "how many kills")->capture_default_str();
  app.add_option("--seed", options.seed, "of the schedule of kills and of what clients do")
      ->capture_default_str();
  app.add_flag("--random-seed", random_seed, "another schedule each time; it is printed");
  app.add_option("--clients", options.clients_per_branch, "per branch")->capture_default_str();
  app.add_option("--folder", folder,
                 "where data and logs go; default: a new temporary folder, kept only on failure");
  app.add_flag("--verbose", options.verbose, "a line per cycle");
  app.add_option("--fault", faults,
                 "SERVER=FAULT: runs that server as crash_server with this fault");
  app.add_option("--expect", expected,
                 "succeed only if one of these is found wrong: for planted faults");
  app.add_option("--power-cut-image", image,
                 "an image with a file system: cut the power of that instead of kill -9 (as root)");
  app.add_option("--power-cut-mount", mount, "where the image is mounted");
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  if (random_seed) options.seed = std::random_device()();
  bool temporary = folder.empty();
  try {
    folder = make_folder(folder);
    std::printf("seed %llu, %d cycles, in %s\n", static_cast<unsigned long long>(options.seed),
                options.cycles, folder.c_str());
    std::fflush(stdout);
    CompanyPlan plan;
    plan.folder = folder;
    if (!mount.empty()) {
      plan.data_folder = mount;
      options.cut = [&](Company& company, const std::vector<std::string>& victims) {
        cut_power(company, victims, image, mount);
      };
    }
    Company company(plan);
    for (const auto& f : faults) {
      size_t at = f.find('=');
      if (at == std::string::npos) fail_with("--fault SERVER=FAULT");
      company.set_program(f.substr(0, at), "crash_server", {"--fault", f.substr(at + 1)});
    }
    try {
      company.start_all();
      CampaignSummary summary = run_campaign(company, options);
      company.stop_all();
      std::printf("%s", to_string(summary).c_str());
    } catch (const Failure& f) {
      bool meant = std::any_of(expected.begin(), expected.end(),
                               [&](const auto& e) { return f.what.find(e) != std::string::npos; });
      if (!meant) throw;
      std::printf("caught: %s\n", f.what.c_str());
      if (temporary) forget(folder);
      return 0;
    }
    if (!expected.empty()) fail_with("the planted fault was not found");
    if (temporary) forget(folder);
    return 0;
  } catch (const Failure& f) {
    std::printf("FAILED: %s\nrepeat with --seed %llu --cycles %d; data and logs are kept in %s\n",
                f.what.c_str(), static_cast<unsigned long long>(options.seed), options.cycles,
                folder.c_str());
    return 1;
  }
}
