#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>
#include <thread>

#include "common/tls/authority.h"
#include "common/tls/engine.h"
#include "common/tls/link_context.h"
#include "common/tls/openssl.h"
#include "common/tls/pem.h"
#include "tests/support/fixed_clock.h"
#include "tests/support/temp_folder.h"

using namespace branchline;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kDay = 86'400;

mode_t mode_of(const fs::path& file) {
  struct stat status{};
  return ::stat(file.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

std::string slurp(const fs::path& file) {
  std::ostringstream out;
  out << std::ifstream(file).rdbuf();
  return out.str();
}

size_t files_in(const fs::path& folder) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

// An authority in ca/, and servers beside it.
struct Authorities {
  TempFolder folder;
  SystemClock clock;
  int64_t now_s = clock.wall_ms() / 1000;

  Authorities() { REQUIRE(create_authority(folder / "ca", clock)); }
  fs::path issue(const std::string& server, const std::string& ca = "ca",
                 ServerOptions options = {}) {
    REQUIRE(issue_server(folder / ca, server, folder / server, clock, options));
    return folder / server;
  }
  std::shared_ptr<const LinkContext> identity(const std::string& server,
                                              const std::string& ca = "ca") {
    auto context = load_link_context(issue(server, ca), clock);
    REQUIRE(context);
    return *context;
  }
};

// The error of loading `folder`: its code, after checking that it names `file` and says how to mend
// it.
std::string load_error(const fs::path& folder, Clock& clock, const std::string& file,
                       const std::string& mend) {
  auto context = load_link_context(folder, clock);
  REQUIRE_FALSE(context);
  CHECK_THAT(context.error().message, Contains((folder / file).string()) && Contains(mend));
  return context.error().code;
}

// Carries bytes between two ends until neither has anything to say.
struct Pair {
  TlsEngine client, server;
  Result<bool> client_done = false, server_done = false;

  void shake_hands() {
    for (int turns = 0; turns < 10; ++turns) {
      if (client_done && !*client_done) client_done = client.handshake();
      server.received(client.take_output());
      if (server_done && !*server_done) server_done = server.handshake();
      client.received(server.take_output());
    }
  }
};

Pair meet(std::shared_ptr<const LinkContext> client, std::shared_ptr<const LinkContext> server,
          std::string expected, TlsEngine::Options server_options = {}) {
  Pair pair{
      TlsEngine(client, TlsRole::client, TlsEngine::Options{.expected_peer = std::move(expected)}),
      TlsEngine(server, TlsRole::server, std::move(server_options))};
  pair.shake_hands();
  return pair;
}

std::string error_code(const auto& result) { return result ? "" : result.error().code; }

}  // namespace

TEST_CASE("an authority is made once, its key for its owner alone") {
  TempFolder folder;
  SystemClock clock;
  mode_t old_mask = ::umask(0);  // the mode must not depend on it
  auto made = create_authority(folder / "ca", clock);
  ::umask(old_mask);
  REQUIRE(made);
  CHECK(mode_of(folder / "ca") == 0700);
  CHECK(mode_of(folder / "ca" / "ca.key") == 0600);
  CHECK(mode_of(folder / "ca" / "ca.pem") == 0644);
  CHECK(files_in(folder / "ca") == 2);  // no temporary file stays
  CHECK_THAT(made->subject, Catch::StartsWith("CN=Branchline CA ") && Contains("O=Branchline"));
  CHECK(made->server.empty());
  CHECK(made->not_after_s - clock.wall_ms() / 1000 > 3649 * kDay);

  auto described = describe_certificate(folder / "ca" / "ca.pem");
  REQUIRE(described);
  CHECK(described->fingerprint == made->fingerprint);
  CHECK(described->fingerprint.size() == 32 * 3 - 1);
  CHECK(described->not_after_s == made->not_after_s);

  SECTION("a second one is refused and changes nothing") {
    std::string key = slurp(folder / "ca" / "ca.key");
    auto again = create_authority(folder / "ca", clock);
    REQUIRE_FALSE(again);
    CHECK(again.error().kind == ErrorKind::conflict);
    CHECK(again.error().code == "ca.exists");
    CHECK_THAT(again.error().message,
               Contains((folder / "ca" / "ca.key").string()) && Contains("--replace"));
    CHECK(slurp(folder / "ca" / "ca.key") == key);
  }
  SECTION("also where only the key is left") {
    fs::remove(folder / "ca" / "ca.pem");
    CHECK(error_code(create_authority(folder / "ca", clock)) == "ca.exists");
  }
  SECTION("it is replaced when asked") {
    auto again = create_authority(folder / "ca", clock, {.overwrite = Overwrite::replace});
    REQUIRE(again);
    CHECK(again->fingerprint != made->fingerprint);
    CHECK(mode_of(folder / "ca" / "ca.key") == 0600);
  }
  SECTION("a validity that is none is refused") {
    CHECK(error_code(create_authority(folder / "x", clock, {.validity_days = 0})) ==
          "ca.bad_validity");
    CHECK_FALSE(fs::exists(folder / "x"));
  }
}

TEST_CASE("of several who write one file, one wins and the others are told") {
  TempFolder folder;
  std::array<bool, 8> won{};
  std::vector<std::thread> threads;
  for (size_t i = 0; i < won.size(); ++i) {
    threads.emplace_back([&, i] {
      won[i] = write_file(folder / "key", std::string(10'000, static_cast<char>('a' + i)), 0600,
                          Overwrite::refuse)
                   .has_value();
    });
  }
  for (auto& thread : threads) thread.join();
  REQUIRE(std::count(won.begin(), won.end(), true) == 1);
  auto winner = static_cast<char>('a' + (std::find(won.begin(), won.end(), true) - won.begin()));
  CHECK(slurp(folder / "key") == std::string(10'000, winner));
  CHECK(files_in(folder.path()) == 1);
}

TEST_CASE("a server gets an identity from the authority") {
  Authorities a;
  auto issued = issue_server(a.folder / "ca", "hamburg", a.folder / "hamburg", a.clock);
  REQUIRE(issued);
  CHECK(issued->server == "hamburg");
  CHECK(issued->subject == "CN=hamburg,O=Branchline");
  CHECK(issued->not_after_s - a.now_s <= 825 * kDay + 5);
  CHECK(issued->not_after_s - a.now_s >= 825 * kDay);
  CHECK(issued->not_before_s <= a.now_s - 3600 + 5);  // for servers whose clocks are behind
  CHECK(mode_of(a.folder / "hamburg" / "server.key") == 0600);
  CHECK(slurp(a.folder / "hamburg" / "ca.pem") == slurp(a.folder / "ca" / "ca.pem"));

  auto context = load_link_context(a.folder / "hamburg", a.clock);
  REQUIRE(context);
  CHECK((*context)->server() == "hamburg");
  CHECK((*context)->certificate().fingerprint == issued->fingerprint);

  auto again = [&](ServerOptions options = {}) {
    return issue_server(a.folder / "ca", "hamburg", a.folder / "hamburg", a.clock, options);
  };
  SECTION("its key is not replaced unasked") {
    std::string key = slurp(a.folder / "hamburg" / "server.key");
    auto refused = again();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == "ca.exists");
    CHECK_THAT(refused.error().message, Contains((a.folder / "hamburg" / "server.key").string()));
    CHECK(slurp(a.folder / "hamburg" / "server.key") == key);
    REQUIRE(again({.overwrite = Overwrite::replace}));
    CHECK(slurp(a.folder / "hamburg" / "server.key") != key);
    CHECK(load_link_context(a.folder / "hamburg", a.clock));
  }
  SECTION("its authority is not exchanged unasked") {
    fs::remove(a.folder / "hamburg" / "server.key");
    fs::remove(a.folder / "hamburg" / "server.pem");
    REQUIRE(create_authority(a.folder / "ca", a.clock, {.overwrite = Overwrite::replace}));
    auto refused = again();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == "ca.exists");
    CHECK_THAT(refused.error().message, Contains((a.folder / "hamburg" / "ca.pem").string()));
    CHECK(again({.overwrite = Overwrite::replace}));
  }
  SECTION("it ends with its authority at the latest") {
    auto longest = again({.validity_days = 36'500, .overwrite = Overwrite::replace});
    REQUIRE(longest);
    CHECK(longest->not_after_s == describe_certificate(a.folder / "ca" / "ca.pem")->not_after_s);
  }
}

TEST_CASE("names of servers") {
  for (const char* good : {"a", "hamburg", "head-office-2", "x0-"}) CHECK(is_server_name(good));
  CHECK(is_server_name("a" + std::string(62, 'b')));
  for (const char* bad : {"", "-a", "0a", "Hamburg", "a.b", "a_b", "a b", "h\xC3\xA4", "*"}) {
    CHECK_FALSE(is_server_name(bad));
  }
  CHECK_FALSE(is_server_name("a" + std::string(63, 'b')));
  CHECK_FALSE(is_server_name(std::string_view("a\0b", 3)));

  Authorities a;
  auto refused = issue_server(a.folder / "ca", "../etc", a.folder / "x", a.clock);
  CHECK(error_code(refused) == "tls.bad_name");
  CHECK_FALSE(fs::exists(a.folder / "x"));
}

TEST_CASE("an authority that cannot issue says why") {
  Authorities a;
  auto issue = [&](Clock& clock) {
    return issue_server(a.folder / "ca", "hamburg", a.folder / "h", clock);
  };
  SECTION("there is none") {
    auto none = issue_server(a.folder / "nowhere", "hamburg", a.folder / "h", a.clock);
    REQUIRE_FALSE(none);
    CHECK(none.error().code == "ca.missing");
    CHECK_THAT(none.error().message, Contains((a.folder / "nowhere" / "ca.pem").string()) &&
                                         Contains("branchline ca create"));
  }
  SECTION("it has expired") {
    FixedClock late((a.now_s + 3700 * kDay) * 1000);
    CHECK(error_code(issue(late)) == "ca.expired");
  }
  SECTION("others may read its key") {
    fs::permissions(a.folder / "ca" / "ca.key", fs::perms(0640));
    CHECK(error_code(issue(a.clock)) == "tls.key_readable");
  }
  SECTION("its key is another's") {
    REQUIRE(create_authority(a.folder / "other", a.clock));
    fs::copy(a.folder / "other" / "ca.key", a.folder / "ca" / "ca.key",
             fs::copy_options::overwrite_existing);
    CHECK(error_code(issue(a.clock)) == "tls.key_mismatch");
  }
  CHECK_FALSE(fs::exists(a.folder / "h"));
}

TEST_CASE("a server's identity is checked when it is loaded") {
  Authorities a;
  fs::path hamburg = a.issue("hamburg");
  REQUIRE(load_link_context(hamburg, a.clock));

  for (const char* file : {"ca.pem", "server.pem", "server.key"}) {
    DYNAMIC_SECTION(file << " is missing") {
      fs::remove(hamburg / file);
      CHECK(load_error(hamburg, a.clock, file, "branchline ca issue") == "tls.missing");
    }
    DYNAMIC_SECTION(file << " is damaged") {
      std::string pem = slurp(hamburg / file);
      std::ofstream(hamburg / file) << pem.substr(0, 100) + "!" + pem.substr(101);
      CHECK_THAT(load_error(hamburg, a.clock, file, "branchline ca issue"),
                 Catch::StartsWith("tls.bad_"));
    }
  }
  SECTION("others may read the key") {
    for (auto mode : {0640, 0604, 0620, 0666}) {
      fs::permissions(hamburg / "server.key", fs::perms(mode));
      CHECK(load_error(hamburg, a.clock, "server.key", "chmod 600") == "tls.key_readable");
    }
    fs::permissions(hamburg / "server.key", fs::perms(0400));
    CHECK(load_link_context(hamburg, a.clock));
  }
  SECTION("the key is another's") {
    fs::copy(a.issue("munich") / "server.key", hamburg / "server.key",
             fs::copy_options::overwrite_existing);
    CHECK(load_error(hamburg, a.clock, "server.key", "branchline ca issue hamburg") ==
          "tls.key_mismatch");
  }
  SECTION("it has expired") {
    FixedClock late((a.now_s + 826 * kDay) * 1000);
    CHECK(load_error(hamburg, late, "server.pem", "branchline ca issue hamburg") == "tls.expired");
  }
  SECTION("the authority has expired") {
    FixedClock late((a.now_s + 3651 * kDay) * 1000);
    CHECK(load_error(hamburg, late, "ca.pem", "branchline ca create") == "tls.expired");
  }
  SECTION("it is not valid yet, or this clock is wrong") {
    FixedClock early((a.now_s - 2 * 3600) * 1000);
    CHECK_THAT(load_error(hamburg, early, "ca.pem", "clock"), Catch::Equals("tls.not_yet_valid"));
  }
  SECTION("it is of another authority") {
    REQUIRE(create_authority(a.folder / "other", a.clock));
    fs::copy(a.folder / "other" / "ca.pem", hamburg / "ca.pem",
             fs::copy_options::overwrite_existing);
    CHECK(load_error(hamburg, a.clock, "server.pem", "branchline ca issue hamburg") ==
          "tls.other_authority");
  }
  SECTION("two authorities may stand together while servers move over") {
    REQUIRE(create_authority(a.folder / "other", a.clock));
    std::ofstream(hamburg / "ca.pem", std::ios::app) << slurp(a.folder / "other" / "ca.pem");
    CHECK(load_link_context(hamburg, a.clock));
    std::ofstream(hamburg / "ca.pem", std::ios::app) << "-----BEGIN CERTIFICATE-----\nMIIB\n";
    CHECK(load_error(hamburg, a.clock, "ca.pem", "branchline ca issue") == "tls.bad_certificate");
  }
}

TEST_CASE("a server's name stands in one place of a certificate, in one form") {
  auto name_with = [](const std::string& alternative_names) {
    X509Ptr certificate(X509_new());
    if (!alternative_names.empty()) {
      ExtensionPtr names(
          X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, alternative_names.c_str()));
      REQUIRE(names != nullptr);
      REQUIRE(X509_add_ext(certificate.get(), names.get(), -1) == 1);
    }
    return server_name(certificate.get());
  };
  CHECK(name_with("DNS:hamburg.branchline.internal") == std::string("hamburg"));
  for (const char* bad :
       {"", "DNS:hamburg", "DNS:.branchline.internal", "DNS:*.branchline.internal",
        "DNS:Hamburg.branchline.internal", "DNS:a.b.branchline.internal",
        "DNS:hamburg.branchline.internal.", "DNS:hamburg.branchline.internal.evil.org",
        "DNS:hamburgbranchline.internal", "email:hamburg@x.branchline.internal", "IP:10.0.0.1",
        "URI:hamburg.branchline.internal",
        "DNS:hamburg.branchline.internal,DNS:munich.branchline.internal",
        "DNS:hamburg.branchline.internal,IP:10.0.0.1"}) {
    INFO(bad);
    CHECK(error_code(name_with(bad)) == "tls.bad_name");
  }
  // A NUL within, which C code would take for the end.
  X509Ptr certificate(X509_new());
  GENERAL_NAMES* names = sk_GENERAL_NAME_new_null();
  GENERAL_NAME* name = GENERAL_NAME_new();
  ASN1_IA5STRING* text = ASN1_IA5STRING_new();
  constexpr char kTrick[] = "hamburg.branchline.internal\0.evil.org";
  ASN1_STRING_set(text, kTrick, sizeof kTrick - 1);
  GENERAL_NAME_set0_value(name, GEN_DNS, text);
  sk_GENERAL_NAME_push(names, name);
  REQUIRE(X509_add1_ext_i2d(certificate.get(), NID_subject_alt_name, names, 0, 0) == 1);
  GENERAL_NAMES_free(names);
  CHECK(error_code(server_name(certificate.get())) == "tls.bad_name");
}

TEST_CASE("two servers of one authority know each other") {
  Authorities a;
  auto hamburg = a.identity("hamburg"), master = a.identity("master");
  Pair pair = meet(hamburg, master, "master");
  REQUIRE(pair.client_done == true);
  REQUIRE(pair.server_done == true);
  CHECK(pair.client.peer() == "master");
  CHECK(pair.server.peer() == "hamburg");
  CHECK(pair.client.bytes_out() == pair.server.bytes_in());
  CHECK(pair.server.bytes_out() == pair.client.bytes_in());

  std::string large(64 * 1024, 'x'), got;
  for (int i = 0; i < 5; ++i) {
    REQUIRE(pair.client.write(large));
    pair.server.received(pair.client.take_output());
    CHECK(pair.server.read(got) == TlsEngine::Reading::open);
  }
  CHECK(got.size() == 5 * large.size());

  SECTION("a goodbye is heard, after what came before it") {
    REQUIRE(pair.server.write("last words"));
    pair.server.finish();
    pair.client.received(pair.server.take_output());
    got.clear();
    CHECK(pair.client.read(got) == TlsEngine::Reading::ended);
    CHECK(got == "last words");
  }
  SECTION("damage on the way is noticed") {
    REQUIRE(pair.server.write("pay 100"));
    std::string cipher = pair.server.take_output();
    cipher[cipher.size() / 2] = static_cast<char>(cipher[cipher.size() / 2] ^ 1);
    pair.client.received(cipher);
    got.clear();
    auto reading = pair.client.read(got);
    REQUIRE_FALSE(reading);
    CHECK(reading.error().kind == ErrorKind::corrupt);
    CHECK(got.empty());
  }
  SECTION("there are no tickets, and so no resumption") {
    CHECK(SSL_CTX_get_num_tickets(master->native()) == 0);
    Pair second = meet(hamburg, master, "master");
    CHECK(second.server.take_output().empty());
  }
}

TEST_CASE("keys are renewed after so many writes, unnoticed") {
  Authorities a;
  auto hamburg = a.identity("hamburg"), master = a.identity("master");
  auto bytes_of_ten_writes = [&](uint64_t writes_per_key) {
    Pair pair = meet(hamburg, master, "master", {.writes_per_key = writes_per_key});
    uint64_t before = pair.server.bytes_out();
    std::string got;
    for (int i = 0; i < 10; ++i) {
      REQUIRE(pair.server.write("0123456789"));
      pair.client.received(pair.server.take_output());
      CHECK(pair.client.read(got) == TlsEngine::Reading::open);
    }
    CHECK(got.size() == 100);
    REQUIRE(pair.client.write("and back"));
    pair.server.received(pair.client.take_output());
    got.clear();
    CHECK(pair.server.read(got) == TlsEngine::Reading::open);
    CHECK(got == "and back");
    return pair.server.bytes_out() - before;
  };
  // The three KeyUpdate messages are on the wire.
  CHECK(bytes_of_ten_writes(3) > bytes_of_ten_writes(1000) + 3 * 20);
}

TEST_CASE("an engine refuses whom it should, and both ends learn why") {
  Authorities a;
  auto hamburg = a.identity("hamburg"), master = a.identity("master");
  SECTION("a server of another name") {
    Pair pair = meet(hamburg, master, "munich");
    CHECK(error_code(pair.client_done) == "tls.wrong_name");
    CHECK_THAT(pair.client_done.error().message, Contains("'master'") && Contains("'munich'"));
    CHECK(error_code(pair.server_done) == "tls.refused");
  }
  SECTION("a server of another authority") {
    REQUIRE(create_authority(a.folder / "other", a.clock));
    Pair pair = meet(hamburg, a.identity("stranger", "other"), "stranger");
    CHECK(error_code(pair.client_done) == "tls.other_authority");
    CHECK(error_code(pair.server_done) == "tls.refused");
  }
  SECTION("an expired server") {
    FixedClock then((a.now_s - 10 * kDay) * 1000);
    REQUIRE(create_authority(a.folder / "old", then));
    REQUIRE(issue_server(a.folder / "old", "old", a.folder / "o1", then, {.validity_days = 1}));
    REQUIRE(issue_server(a.folder / "old", "young", a.folder / "o2", a.clock));
    Pair pair = meet(*load_link_context(a.folder / "o2", a.clock),
                     *load_link_context(a.folder / "o1", then), "old");
    CHECK(error_code(pair.client_done) == "tls.expired");
  }
  SECTION("who sends without end before he shows who he is") {
    TlsEngine server(master, TlsRole::server);
    // Parts of a first message of 127 kB, which OpenSSL alone would collect.
    std::string part("\x16\x03\x01\x10\x00", 5);
    std::string hello("\x01\x01\xF0\x00", 4);
    Result<bool> done = false;
    size_t sent = 0;
    for (; done && sent < 1'000'000; sent += part.size() + 4096) {
      server.received(part + hello + std::string(4096 - hello.size(), '\0'));
      hello.clear();
      done = server.handshake();
    }
    CHECK(error_code(done) == "tls.failed");
    CHECK(sent > 32 * 1024);
    CHECK(sent < 100'000);
  }
  SECTION("what is no TLS") {
    TlsEngine server(master, TlsRole::server);
    server.received("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(error_code(server.handshake()) == "tls.not_tls");
  }
}
