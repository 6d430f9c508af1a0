// A company of one office for tests that break it in one way.
#pragma once

#include <signal.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/crash/company.h"
#include "tests/support/temp_folder.h"

namespace branchline::crash {

inline constexpr const char* kAccounts = "/api/data/v9.2/accounts";

// One bit of a file: what a disk does to what it keeps.
inline void flip_in_the_middle(const std::filesystem::path& path) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  auto middle = static_cast<std::streamoff>(std::filesystem::file_size(path) / 2);
  file.seekg(middle);
  char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(middle);
  file.put(byte);
  REQUIRE(file.flush());
}

struct Office {
  TempFolder folder;
  Company company;

  explicit Office(std::string rtt = "20ms", std::string log_level = "info", std::string rate = "")
      : company([&] {
          CompanyPlan plan;
          plan.folder = folder.path().string();
          plan.branches = {{"office", {}, std::move(rtt), std::move(rate)}};
          plan.log_level = std::move(log_level);
          return plan;
        }()) {}

  std::string marker(const std::string& name) const { return (folder / name).string(); }

  // Acknowledged creates; stops at the first request that is not acknowledged.
  std::vector<std::string> create(size_t count, const std::string& prefix) {
    auto http = company.office("office");
    std::vector<std::string> ids;
    for (size_t i = 0; i < count; ++i) {
      auto a =
          http->request("POST", kAccounts, R"({"name":")" + prefix + std::to_string(i) + R"("})",
                        {{"Prefer", "return=representation"}});
      if (!a || a->status != 201) break;
      ids.push_back(text_in(a->json(), "accountid"));
    }
    return ids;
  }
  int status_of(const std::string& id) {
    auto a = company.office("office")->request(
        "GET", std::string(kAccounts) + "(" + id + ")?$select=name");
    return a ? a->status : 0;
  }
  size_t readable(const std::vector<std::string>& ids) {
    size_t n = 0;
    for (const auto& id : ids) n += status_of(id) == 200 ? 1 : 0;
    return n;
  }
  void require_true_audit() {
    Finished audit = company.audit();
    INFO(audit.output);
    REQUIRE(audit.code == 0);
  }
  // Starts a server that must refuse to; its exit code. Its log tells why.
  int start_refused(const std::string& server) {
    company.start(server);
    return company.process(server).wait();
  }
};

}  // namespace branchline::crash
