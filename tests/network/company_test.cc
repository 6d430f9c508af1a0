// A master, head office and two offices, each of these behind a line of packets: what is promised
// holds where TCP has to work for it.
#include <algorithm>
#include <cstdio>
#include <thread>

#include <catch2/catch.hpp>

#include "tests/crash/company.h"
#include "tests/support/temp_folder.h"

using namespace std::chrono_literals;
using namespace branchline::crash;

namespace {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::duration<double, std::milli>;

std::string created(Http& office, const std::string& name) {
  auto answer =
      office.request("POST", "/api/data/v9.2/contacts", R"({"lastname":")" + name + "\"}");
  if (!answer || answer->status != 204) {
    fail_with("no contact: " + (answer ? answer->body : std::string("no answer")));
  }
  const std::string at = answer->header("OData-EntityId");
  return at.substr(at.size() - 37, 36);
}

struct Lag {
  Millis median{0}, slowest{0};
};

// From asking the office until head office shows it, one after the other.
Lag lag_of_edits(Http& office, Http& head, int count) {
  std::vector<Millis> seen;
  for (int i = 0; i < count; ++i) {
    const auto begin = Clock::now();
    const std::string id = created(office, "Edit" + std::to_string(i));
    eventually("head office shows it", [&] {
      auto answer = head.request("GET", "/api/data/v9.2/contacts(" + id + ")?$select=lastname");
      return answer && answer->ok();
    });
    seen.push_back(Clock::now() - begin);
  }
  std::sort(seen.begin(), seen.end());
  return {seen[seen.size() / 2], seen.back()};
}

uint64_t lost(const Company& company, const std::string& branch) {
  const auto stats = company.line_stats(branch);
  return number_in(stats, "up_lost") + number_in(stats, "down_lost");
}

}  // namespace

TEST_CASE("network: offices work over lines that lose packets, and all agree", "[company]") {
  branchline::TempFolder folder;
  CompanyPlan plan;
  plan.folder = folder.path();
  plan.branches = {
      {"head", {}, "", ""},
      {"near", {}, "", "", {"--delay", "20ms", "--rate", "20Mbit"}},
      {"far", {}, "", "", {"--delay", "60ms", "--rate", "8Mbit,2Mbit", "--loss", "1%"}}};
  Company company(plan);
  company.start_all();
  auto head = company.office("head"), near = company.office("near"), far = company.office("far");

  created(*near, "First");
  const Lag without = lag_of_edits(*near, *head, 50);
  CHECK(without.median >= 20ms);
  CHECK(without.median < 1s);
  CHECK(lost(company, "near") == 0);

  company.line("near", "/set?loss=1%25");
  Lag with = lag_of_edits(*near, *head, 100);
  for (int i = 0; i < 20 && lost(company, "near") < 3; ++i) {
    const Lag more = lag_of_edits(*near, *head, 50);
    with.slowest = std::max(with.slowest, more.slowest);
  }
  CHECK(lost(company, "near") >= 3);
  // A repeated packet costs its own edit a round trip or two; the others do not notice.
  CHECK(with.median >= 20ms);
  CHECK(with.median < 1s);
  std::printf(
      "lag of an edit, line of 20 ms and 20 Mbit/s: median %.1f ms, slowest %.1f; with 1 %% loss "
      "%.1f and %.1f, %llu packets lost\n",
      without.median.count(), without.slowest.count(), with.median.count(), with.slowest.count(),
      static_cast<unsigned long long>(lost(company, "near")));

  // A cut in the middle of work at both offices.
  company.line("far", "/down");
  std::vector<std::string> ids;
  for (int i = 0; i < 50; ++i) {
    ids.push_back(created(*far, "Far" + std::to_string(i)));
    ids.push_back(created(*near, "Near" + std::to_string(i)));
  }
  const auto shown_at_head = [&](const std::string& id) {
    auto answer = head->request("GET", "/api/data/v9.2/contacts(" + id + ")?$select=lastname");
    return answer && answer->ok();
  };
  // One office works on while the other is cut off.
  eventually("head office has the last of near's", [&] { return shown_at_head(ids.back()); });
  eventually("the cut line has swallowed something",
             [&] { return number_in(company.line_stats("far"), "up_swallowed") > 0; });
  CHECK_FALSE(shown_at_head(ids.front()));
  CHECK(company.pending("far") == 50);
  company.line("far", "/up");
  company.wait_drained();
  for (const auto& id : ids) {
    for (const auto& office : {"head", "near", "far"}) {
      REQUIRE(company.office_get(office, "/api/data/v9.2/contacts(" + id + ")?$select=lastname")
                  .member("lastname"));
    }
  }
  company.stop_all();
}
