#include "tests/crash/campaign.h"

#include <signal.h>

#include <algorithm>
#include <cstdio>

namespace branchline::crash {
namespace {

constexpr int kInFlight = 16;
const std::vector<std::string> kBranches{"left", "right"};
constexpr const char* kAccounts = "/api/data/v9.2/accounts";

void pause_ms(uint64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

class Campaign {
 public:
  Campaign(Company& company, const CampaignOptions& options)
      : company_(company),
        options_(options),
        random_(options.seed),
        run_(std::to_string(random_())) {
    for (const auto& b : kBranches) ledger_.adds_at[b] = 0;
  }

  CampaignSummary run() {
    make_shared_records();
    for (const auto& b : kBranches) {
      clients_.push_back(std::make_unique<Clients>(company_, b, shared_, ledger_, random_(), run_));
    }
    for (int cycle = 1; cycle <= options_.cycles; ++cycle) {
      try {
        one_cycle();
      } catch (const Failure& f) {
        for (auto& c : clients_) c->abandon();
        fail_with("cycle " + std::to_string(cycle) + ": " + f.what);
      }
      summary_.cycles = cycle;
    }
    check_at_rest();
    summary_.writes = ledger_.writes;
    summary_.retried = ledger_.retries;
    summary_.unanswered = ledger_.unanswered;
    return summary_;
  }

 private:
  uint64_t below(uint64_t n) { return random_() % n; }

  void make_shared_records() {
    auto http = company_.office(kBranches[0]);
    for (std::string* id :
         {&shared_.keyed_counter, &shared_.plain_counter, &shared_.notes, &shared_.described}) {
      auto made = http->request("POST", kAccounts, R"({"name":"shared"})",
                                {{"Prefer", "return=representation"}});
      if (!made || made->status != 201)
        fail_with("no shared record: " + (made ? made->body : std::string("no answer")));
      *id = text_in(made->json(), "accountid");
    }
    for (const auto& b : kBranches) {
      auto there = company_.office(b);
      eventually("the shared records at " + b, [&] {
        auto a = there->request("GET", record(shared_.described));
        return a && a->ok();
      });
    }
  }

  static std::string record(const std::string& id) {
    return std::string(kAccounts) + "(" + id + ")";
  }

  struct Plan {
    std::vector<std::string> victims;
    std::string disturbed;  // the branch whose line is troubled, or none
    enum class Line { well, stalled, down } line = Line::well;
  };

  Plan draw_plan() {
    Plan p;
    uint64_t who = below(10);
    if (who < 5)
      p.victims = {kBranches[below(2)]};
    else if (who < 8)
      p.victims = {"master"};
    else if (who < 9)
      p.victims = {"master", kBranches[below(2)]};
    else
      p.victims = {"left", "master", "right"};
    uint64_t line = below(6);
    p.line = line == 0 ? Plan::Line::down : line == 1 ? Plan::Line::stalled : Plan::Line::well;
    if (p.line != Plan::Line::well) p.disturbed = kBranches[below(2)];
    return p;
  }

  static bool named(const Plan& p, const std::string& server) {
    return std::find(p.victims.begin(), p.victims.end(), server) != p.victims.end();
  }

  void one_cycle() {
    Plan plan = draw_plan();
    for (auto& c : clients_) c->start(options_.clients_per_branch);
    pause_ms(50 + below(250));
    if (plan.line == Plan::Line::stalled) {
      // Only a link that is up can have work on its way when the line stands still.
      eventually("work on the line of " + plan.disturbed, [&] {
        check_link(plan.disturbed);
        return company_.unacknowledged(plan.disturbed) > 0;
      });
      company_.line(plan.disturbed, "/set?stall=true");
    }
    if (plan.line == Plan::Line::down) company_.line(plan.disturbed, "/down");
    pause_ms(below(150));
    strike(plan);
    pause_ms(below(300));
    for (const auto& v : plan.victims) company_.start(v);
    for (const auto& v : plan.victims) company_.wait_ready(v);
    if (plan.line == Plan::Line::stalled) company_.line(plan.disturbed, "/set?stall=false");
    if (plan.line == Plan::Line::down) company_.line(plan.disturbed, "/up");
    pause_ms(below(150));
    for (auto& c : clients_) c->finish();
    for (auto& c : clients_) {
      auto wrong = c->complaints();
      if (!wrong.empty()) fail_with(wrong.front());
    }
    for (const auto& s : company_.servers()) {
      if (!company_.process(s).running())
        fail_with(s + " ended by itself with " + std::to_string(company_.process(s).wait()));
    }
    check_promises();
    if (options_.verbose) {
      std::string who;
      for (const auto& v : plan.victims) who += v + " ";
      std::printf("cycle %d: killed %s%s; %llu writes, %llu retried\n", summary_.cycles + 1,
                  who.c_str(),
                  plan.line == Plan::Line::well   ? ""
                  : plan.line == Plan::Line::down ? "(line down)"
                                                  : "(line stalled)",
                  static_cast<unsigned long long>(ledger_.writes.load()),
                  static_cast<unsigned long long>(ledger_.retries.load()));
      std::fflush(stdout);
    }
  }

  // Waits for a moment with work under way everywhere that matters, then kills at once.
  void strike(const Plan& plan) {
    std::vector<std::pair<Clients*, std::string>> concerned;
    for (size_t i = 0; i < kBranches.size(); ++i) {
      if (named(plan, kBranches[i]) || named(plan, "master"))
        concerned.emplace_back(clients_[i].get(), kBranches[i]);
    }
    eventually("work not acknowledged on the link", [&] {
      for (const auto& b : kBranches) check_link(b);
      return std::all_of(concerned.begin(), concerned.end(), [&](const auto& c) {
        bool cut = plan.line == Plan::Line::down && plan.disturbed == c.second;
        return cut ? company_.pending(c.second) > 0 : company_.unacknowledged(c.second) > 0;
      });
    });
    ++summary_.with_unacknowledged_work;
    int least = 0;
    auto deadline = std::chrono::steady_clock::now() + kPatience;
    do {
      if (std::chrono::steady_clock::now() > deadline)
        fail_with("there were never 16 requests in flight");
      least = 1 << 30;
      for (const auto& [clients, name] : concerned) least = std::min(least, clients->in_flight());
    } while (least < kInFlight);
    if (options_.cut) {
      options_.cut(company_, plan.victims);
    } else {
      for (const auto& v : plan.victims) company_.process(v).signal(SIGKILL);
      for (const auto& v : plan.victims) company_.kill(v);
    }
    ++summary_.with_requests_in_flight;
    summary_.least_in_flight = std::min(summary_.least_in_flight, least);
    for (const auto& v : plan.victims)
      ++(v == "master" ? summary_.killed_masters : summary_.killed_branches);
    summary_.line_down += plan.line == Plan::Line::down ? 1 : 0;
    summary_.line_stalled += plan.line == Plan::Line::stalled ? 1 : 0;
  }

  // Lines may break; that one server refuses what the other says never has a good reason here.
  void check_link(const std::string& branch) {
    if (!company_.has(branch) || !company_.process(branch).running()) return;
    Json status = company_.office_get(branch, "/api/sync/status");
    const Json* link = status.member("link");
    std::string code = link ? text_in(*link, "problemCode") : "";
    for (const char* harmless : {"session.silent", "session.no_welcome", "session.superseded"}) {
      if (code == harmless) return;
    }
    for (const char* kind : {"session.", "stream.", "feed.", "effects.", "outbox.", "block."}) {
      if (code.starts_with(kind))
        fail_with("the link of " + branch + " has a problem: " + code + ": " +
                  text_in(*link, "problem"));
    }
  }

  // What was acknowledged at an office is there, at that office, whatever became of its processes.
  void check_promises() {
    std::map<std::string, std::unique_ptr<Http>> https;
    for (const auto& b : kBranches) https[b] = company_.office(b);
    for (const auto& c : ledger_.fresh_creates()) {
      auto a = https[c.branch]->request("GET", record(c.id) + "?$select=name");
      if (!a || a->status != 200) {
        fail_with("account " + c.id + " (" + c.name + ") was acknowledged at " + c.branch +
                  " and is answered " + (a ? std::to_string(a->status) : std::string("nothing")));
      }
      if (text_in(a->json(), "name") != c.name)
        fail_with("account " + c.id + " has another name than was acknowledged");
      ++summary_.creates_read;
    }
    for (const auto& b : kBranches) {
      uint64_t points =
          number_in(company_.office_get(b, record(shared_.keyed_counter)), "loyaltypoints");
      if (points < ledger_.adds_at.at(b)) {
        fail_with("the counter at " + b + " says " + std::to_string(points) + ", though " +
                  std::to_string(ledger_.adds_at.at(b)) + " were acknowledged there");
      }
      if (points > ledger_.keyed_adds) {
        fail_with("the counter at " + b + " says " + std::to_string(points) +
                  ", though there were only " + std::to_string(ledger_.keyed_adds) +
                  ": something was applied twice");
      }
    }
    for (const auto& [branch, a] : ledger_.take_samples(60, random_)) {
      auto again = send_write(*https[branch], a.write);
      if (!again || !again->ok()) {
        fail_with(
            "a retry of " + a.write.method + " " + a.write.target + " at " + branch +
            " was answered " +
            (again ? std::to_string(again->status) + " " + again->body : std::string("nothing")));
      }
      if (again->header("Branchline-Mutation") != a.mutation) {
        fail_with("a retry of " + a.write.method + " " + a.write.target +
                  " was answered as mutation " + again->header("Branchline-Mutation") +
                  ", it was " + a.mutation);
      }
      ++summary_.replays_checked;
    }
  }

  void check_at_rest() {
    company_.wait_drained();
    auto living = ledger_.living();
    auto gone = ledger_.gone();
    for (const auto& b : kBranches) {
      auto http = company_.office(b);
      auto number = [&](const std::string& target) -> uint64_t {
        auto a = http->request("GET", target);
        if (!a || a->status != 200)
          fail_with("GET " + target + " at " + b + ": " + (a ? a->body : "no answer"));
        return std::strtoull(a->body.c_str(), nullptr, 10);
      };
      auto expect = [&](const std::string& what, uint64_t found, uint64_t least, uint64_t most) {
        if (found >= least && found <= most) return;
        fail_with("at rest " + b + " has " + std::to_string(found) + " " + what + ", expected " +
                  std::to_string(least) + (least == most ? "" : " to " + std::to_string(most)));
      };
      uint64_t accounts = living.size() + 4;
      expect("accounts", number(std::string(kAccounts) + "/$count"), accounts, accounts);
      uint64_t notes = ledger_.notes;
      expect("notes",
             number("/api/data/v9.2/annotations/$count?$filter=_objectid_value%20eq%20" +
                    shared_.notes),
             notes, notes);
      Json counter = company_.office_get(b, record(shared_.keyed_counter));
      expect("points with keys", number_in(counter, "loyaltypoints"), ledger_.keyed_adds,
             ledger_.keyed_adds);
      Json plain = company_.office_get(b, record(shared_.plain_counter));
      expect("points without keys", number_in(plain, "loyaltypoints"), ledger_.plain_adds,
             ledger_.plain_attempts);
      std::string description =
          text_in(company_.office_get(b, record(shared_.described)), "description");
      if (!description.empty() && !ledger_.was_tried(description))
        fail_with("nobody wrote the description at " + b);
      for (const auto& c : living) {
        if (below(living.size()) >= 1000) continue;
        auto a = http->request("GET", record(c.id) + "?$select=name");
        if (!a || a->status != 200)
          fail_with("account " + c.id + " of " + c.branch + " is missing at " + b);
      }
      for (const auto& id : gone) {
        if (below(gone.size()) >= 200) continue;
        auto a = http->request("GET", record(id) + "?$select=name");
        if (!a || a->status != 404)
          fail_with("account " + id + " was deleted and is there at " + b);
      }
    }
    Finished audit = company_.audit();
    if (audit.code != 0) fail_with("the audit is not true:\n" + audit.output);
    if (audit.output.find("not compared") != std::string::npos)
      fail_with("the audit compared not all:\n" + audit.output);
  }

  Company& company_;
  CampaignOptions options_;
  std::mt19937_64 random_;
  std::string run_;
  Ledger ledger_;
  Shared shared_;
  std::vector<std::unique_ptr<Clients>> clients_;
  CampaignSummary summary_;
};

}  // namespace

CampaignSummary run_campaign(Company& company, const CampaignOptions& options) {
  return Campaign(company, options).run();
}

std::string to_string(const CampaignSummary& s) {
  auto n = [](uint64_t v) { return std::to_string(v); };
  return n(uint64_t(s.cycles)) + " cycles: " + n(s.killed_branches) + " branches and " +
         n(s.killed_masters) + " masters killed, the line " + n(s.line_down) + " times down and " +
         n(s.line_stalled) + " times stalled\n" + n(uint64_t(s.with_requests_in_flight)) +
         " kills with at least 16 requests in flight (least: " + n(uint64_t(s.least_in_flight)) +
         "), " + n(uint64_t(s.with_unacknowledged_work)) +
         " with unacknowledged work on the link\n" + n(s.writes) + " writes acknowledged (" +
         n(s.retried) + " after retries, " + n(s.unanswered) + " requests never answered), " +
         n(s.creates_read) + " creates read back, " + n(s.replays_checked) +
         " retries compared\nnothing acknowledged is missing, nothing was done twice, all servers "
         "agree, audit true\n";
}

}  // namespace branchline::crash
