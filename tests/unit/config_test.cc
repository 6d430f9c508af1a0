#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/base/limits.h"
#include "common/base/random.h"
#include "common/config/topology.h"
#include "common/schema/schema.h"

namespace branchline {
namespace {

namespace fs = std::filesystem;

const std::string kOrigin = "t.yaml";

// The base of the cases below; the line numbers in them count from `version`.
const std::string kGood = R"(version: 1
name: demo
sites:
  - {name: chicago, place: "Chicago", clients: 40}
  - {name: houston}
territories:
  - central
  - {name: east, parent: central}
links:
  - {from: chicago, to: houston, rtt: 80ms, rate: 20Mbit, price: 0.09}
servers:
  - {name: master, site: chicago, kind: master, link: "10.0.0.1:7400", admin: "10.0.0.1:7401"}
  - name: hq
    site: chicago
    kind: branch
    upstream: master
    territories: all
    http: "10.0.0.1:7410"
    admin: "10.0.0.1:7411"
  - name: east
    site: houston
    kind: branch
    upstream: master
    territories: [central, east]
    http: "10.0.0.2:7410"
    admin: "10.0.0.2:7411"
    dial: "10.0.0.2:7412"
policies:
  max_offline: 30d
)";

struct Expected {
  int line;
  std::string what;  // a part of it
};
using List = std::vector<Expected>;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  INFO("looking for: " << from);
  REQUIRE(at != std::string::npos);
  REQUIRE(text.find(from, at + 1) == std::string::npos);
  return text.replace(at, from.size(), to);
}

// Exactly the expected mistakes, in this order, each in its line and with a mend.
void expect(const std::string& text, const List& expected) {
  auto result = parse_topology(text, kOrigin);
  REQUIRE_FALSE(result.has_value());
  const Error& error = result.error();
  CHECK(error.kind == ErrorKind::invalid);
  CHECK(error.code == "topology.invalid");
  INFO(error.message);
  auto told = lines_of(error.message);
  REQUIRE(told.size() == expected.size());
  for (size_t i = 0; i < told.size(); ++i) {
    CHECK_THAT(told[i], Catch::StartsWith(kOrigin + ":" + std::to_string(expected[i].line) + ": "));
    CHECK_THAT(told[i], Catch::Contains(expected[i].what));
    CHECK_THAT(told[i], Catch::Contains("; "));
  }
}

void expect_edit(const std::string& from, const std::string& to, const List& expected) {
  INFO(from << "  =>  " << to);
  expect(replaced(kGood, from, to), expected);
}

Topology good(const std::string& text = kGood) {
  auto result = parse_topology(text, kOrigin);
  INFO((result ? "" : result.error().message));
  REQUIRE(result.has_value());
  return *result;
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

fs::path topology_folder() { return fs::path(BRANCHLINE_SOURCE_DIR) / "topology"; }

// A path that nothing has, removed at the end.
class TemporaryFile {
 public:
  TemporaryFile()
      : path_(fs::temp_directory_path() / ("bl-config-" + std::to_string(::getpid()) + "-" +
                                           std::to_string(SystemRandom().next()))) {}
  ~TemporaryFile() { fs::remove(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("who holds a territory holds all below it", "[config][topology]") {
  std::string tree = replaced(kGood, "  - {name: east, parent: central}\n",
                              "  - {name: coast, parent: east}\n  - {name: east, parent: central}\n"
                              "  - west\n");
  auto held = [&](const std::string& named) {
    auto t = parse_topology(replaced(tree, "[central, east]", named), kOrigin);
    REQUIRE(t);
    return t->server("east")->territories;
  };
  using Names = std::vector<std::string>;
  CHECK(held("[central]") == Names{"central", "coast", "east"});
  CHECK(held("[east]") == Names{"coast", "east"});
  CHECK(held("[coast, west]") == Names{"coast", "west"});
  CHECK(held("[east, coast]") == Names{"coast", "east"});  // said twice, held once
  CHECK(held("all") == Names{"central", "coast", "east", "west"});
}

TEST_CASE("durations are whole microseconds", "[config][units]") {
  CHECK(parse_duration_us("1us") == 1);
  CHECK(parse_duration_us("80ms") == 80'000);
  CHECK(parse_duration_us("2s") == 2'000'000);
  CHECK(parse_duration_us("5min") == 300'000'000);
  CHECK(parse_duration_us("3h") == 10'800'000'000);
  CHECK(parse_duration_us("30d") == 2'592'000'000'000);
  CHECK(parse_duration_us("0ms") == 0);
  CHECK(parse_duration_us("0.3s") == 300'000);
  CHECK(parse_duration_us("1.5ms") == 1'500);
  CHECK(parse_duration_us("106751991d") == 106'751'991ll * 86'400'000'000);
  for (const char* bad :
       {"", "80", "ms", "80 ms", " 80ms", "80ms ", "-1s", "+1s", "1.s", ".5s", "1e3s", "1m", "1S",
        "0.5us", "0.0000001s", "1.1.1s", "0x1s", "106751992d", "99999999999999999999s"}) {
    INFO(bad);
    CHECK_FALSE(parse_duration_us(bad));
  }
}

TEST_CASE("rates are bits per second, sizes are bytes", "[config][units]") {
  CHECK(parse_rate_bits("20Mbit") == 20'000'000u);
  CHECK(parse_rate_bits("256kbit") == 256'000u);
  CHECK(parse_rate_bits("1.5Gbit") == 1'500'000'000u);
  CHECK(parse_rate_bits("300bit") == 300u);
  for (const char* bad :
       {"", "20", "20MB", "20mbit", "20Mbps", "-1Mbit", "0.5bit", "18446744074Gbit"}) {
    INFO(bad);
    CHECK_FALSE(parse_rate_bits(bad));
  }
  CHECK(parse_size_bytes("17B") == 17u);
  CHECK(parse_size_bytes("256KiB") == 262'144u);
  CHECK(parse_size_bytes("2GB") == 2'000'000'000u);
  CHECK(parse_size_bytes("1.5MiB") == 1'572'864u);
  CHECK(parse_size_bytes("3kB") == 3'000u);
  CHECK(parse_size_bytes("3KB") == 3'000u);
  CHECK(parse_size_bytes("1TiB") == 1'099'511'627'776u);
  CHECK(parse_size_bytes("2TB") == 2'000'000'000'000u);
  for (const char* bad :
       {"", "256", "256Kib", "1.5B", "20Mbit", "16777216TiB", "18446744073709551616B"}) {
    INFO(bad);
    CHECK_FALSE(parse_size_bytes(bad));
  }
  CHECK(parse_size_bytes("18446744073709551615B") == 18'446'744'073'709'551'615u);
}

TEST_CASE("an endpoint has one spelling", "[config][units]") {
  CHECK(parse_endpoint("127.0.0.1:7400") == Endpoint{"127.0.0.1", 7400});
  CHECK(parse_endpoint("Crm.Example.COM:443") == Endpoint{"crm.example.com", 443});
  CHECK(parse_endpoint("branch_1:65535") == Endpoint{"branch_1", 65535});
  CHECK(parse_endpoint("[::1]:1") == Endpoint{"::1", 1});
  CHECK(parse_endpoint("[2001:DB8:0:0:0:0:0:1]:80") == Endpoint{"2001:db8::1", 80});
  CHECK(parse_endpoint("[::1]:1")->to_string() == "[::1]:1");
  CHECK(parse_endpoint("10.0.0.1:80")->to_string() == "10.0.0.1:80");
  for (const char* bad : {"",
                          ":",
                          "host",
                          "host:",
                          ":80",
                          "host:0",
                          "host:65536",
                          "host:-1",
                          "host:+80",
                          "host:080",
                          "host:80a",
                          "host: 80",
                          " host:80",
                          "::1:80",
                          "[::1]",
                          "[::1:80",
                          "[]:80",
                          "[host]:80",
                          "[1.2.3.4]:80",
                          "[fe80::1%eth0]:80",
                          "1.2.3:80",
                          "1.2.3.256:80",
                          "1.2.3.4.5:80",
                          "a..b:80",
                          ".a:80",
                          "a.:80",
                          "-a:80",
                          "a-:80",
                          "a-.b:80",
                          "ho st:80",
                          "h/x:80",
                          "http://h:80"}) {
    INFO(bad);
    CHECK_FALSE(parse_endpoint(bad));
  }
  CHECK_FALSE(parse_endpoint(std::string_view("[::1\0]:80", 10)));
  CHECK_FALSE(parse_endpoint(std::string(64, 'a') + ":80"));
  CHECK(parse_endpoint(std::string(63, 'a') + ":80"));
  std::string long_host;
  for (int i = 0; i < 127; ++i) long_host += "a.";
  CHECK(parse_endpoint(long_host.substr(0, 253) + ":80"));
  CHECK_FALSE(parse_endpoint(long_host + "a:80"));
}

TEST_CASE("a good topology is read whole", "[config][topology]") {
  Topology t = good();
  CHECK(t.name == "demo");
  REQUIRE(t.sites.size() == 2);
  CHECK(t.sites[0].name == "chicago");
  CHECK(t.sites[0].place == "Chicago");
  CHECK(t.sites[0].clients == 40);
  CHECK(t.sites[1].clients == 0);
  REQUIRE(t.territories.size() == 2);
  CHECK(t.territories[0].parent.empty());
  CHECK(t.territories[1].name == "east");
  CHECK(t.territories[1].parent == "central");
  REQUIRE(t.links.size() == 1);
  CHECK(t.links[0].from == "chicago");
  CHECK(t.links[0].to == "houston");
  CHECK(t.links[0].rtt_us == 80'000);
  CHECK(t.links[0].rate_bits == 20'000'000);
  CHECK(t.links[0].price_per_gb == 0.09);
  REQUIRE(t.servers.size() == 3);
  CHECK(t.master().name == "master");
  CHECK(t.master().link == Endpoint{"10.0.0.1", 7400});
  CHECK(t.master().admin == Endpoint{"10.0.0.1", 7401});
  CHECK(t.master().territories.empty());
  const ServerSpec* hq = t.server("hq");
  REQUIRE(hq);
  CHECK(hq->kind == ServerKind::branch);
  CHECK(hq->site == "chicago");
  CHECK(hq->upstream == "master");
  CHECK(hq->territories == std::vector<std::string>{"central", "east"});
  CHECK(hq->http == Endpoint{"10.0.0.1", 7410});
  CHECK_FALSE(hq->dial);
  CHECK(t.server("east")->dial == Endpoint{"10.0.0.2", 7412});
  CHECK(t.policies.max_offline_us == 30ll * 86'400'000'000);
  CHECK(t.policies.restore_window_us == 35ll * 86'400'000'000);
  CHECK_FALSE(t.server("west"));
}

TEST_CASE("keys: unknown, doubled, missing", "[config][topology]") {
  expect_edit("name: demo\n", "nmae: demo\n",
              {{1, "the topology lacks `name`; add e.g. `name: demo`"},
               {2,
                "unknown key `nmae` in the topology; did you mean `name`? Known are version, name, "
                "sites"}});
  expect_edit("clients: 40", "colour: red",
              {{4, "unknown key `colour` in site `chicago`; Known are name, place, clients"}});
  expect_edit("    dial:", "    dail:",
              {{27, "unknown key `dail` in server `east`; did you mean `dial`?"}});
  expect_edit("max_offline: 30d", "max_ofline: 30d", {{29, "did you mean `max_offline`?"}});
  expect_edit("price: 0.09", "cost: 0.09", {{10, "unknown key `cost` in a link"}});
  expect_edit("parent: central", "in: central", {{8, "unknown key `in` in territory `east`"}});
  expect_edit("    dial:", "    http:",
              {{27, "key `http` stands twice in server `east` (first in line 25); keep one"}});
  expect_edit("policies:", "name: again\npolicies:",
              {{28, "key `name` stands twice in the topology (first in line 2)"}});
  expect_edit("version: 1\n", "", {{1, "the topology lacks `version`; add e.g. `version: 1`"}});
  expect_edit("    site: houston\n", "",
              {{20, "server `east` lacks `site`; add e.g. `site: chicago`"}});
  expect_edit("  - {name: houston}", "  - {place: Houston}",
              {{5, "a site lacks `name`"}, {10, "site `houston`"}, {21, "site `houston`"}});
  expect_edit("name: demo\n", "name: demo\n? [a, b]\n: 1\n",
              {{3, "a key of the topology must be a word"}});
}

TEST_CASE("types of values", "[config][topology]") {
  expect_edit("version: 1", "version: 2",
              {{1, "`version` of the topology is `2`, not a version that this program reads"}});
  expect_edit("version: 1", "version: one", {{1, "is `one`, not a version"}});
  expect_edit("clients: 40", "clients: many",
              {{4, "`clients` of site `chicago` is `many`, not a whole number"}});
  expect_edit("clients: 40", "clients: -1", {{4, "is `-1`, not a whole number"}});
  expect_edit("clients: 40", "clients: 1000001", {{4, "not a whole number from 0 to 1000000"}});
  expect_edit("name: demo\n", "name:\n  - demo\n",
              {{3, "`name` of the topology must be a single value"}});
  expect_edit("name: demo\n", "name: \"\"\n", {{2, "`name` of the topology is empty"}});
  expect_edit("    upstream: master\n    territories: all\n",
              "    upstream: ''\n    territories: all\n",
              {{16, "`upstream` of server `hq` is empty; write e.g. `upstream: master`"}});
  expect_edit("parent: central", "parent: ''", {{8, "`parent` of territory `east` is empty"}});
  expect_edit("name: demo\n", "name:\n\n",
              {{2, "`name` of the topology is empty; write e.g. `name: demo`"}});
  expect_edit("    site: houston\n", "    site: {name: houston}\n",
              {{21, "`site` of server `east` must be a single value"}});
  expect_edit("    territories: all\n", "    territories: {}\n",
              {{17, "`territories` of server `hq` must be a list or a single value"}});
  expect_edit("policies:\n  max_offline: 30d", "policies: 30d",
              {{28, "`policies` of the topology must be a map"}});
  expect_edit("policies:\n  max_offline: 30d",
              "policies:", {{28, "`policies` of the topology is empty"}});
  expect_edit("  - {name: houston}", "  - houston",
              {{5, "a site must be a map of keys and values"},
               {10, "site `houston`"},
               {21, "site `houston`"}});
  expect_edit("  - {name: houston}", "  -\n  - {name: houston}",
              {{5, "a site must be a map of keys and values"}});
  expect_edit("  - central", "  - central\n  -\n\n# why\n",
              {{8, "a territory is a name or a map"}});
  expect_edit("  - central", "  - central\n  - ~", {{8, "a territory is a name or a map"}});
  expect_edit("  - central", "  - central\n  - [a]", {{8, "a territory is a name or a map"}});
  expect_edit("[central, east]", "[central, [east]]",
              {{24, "`territories` of server `east` must be names"}});
  expect_edit("place: \"Chicago\"", "place: \"Chi\\ncago\"",
              {{4, "is `Chi\\x0acago`, not one line"}});
  expect_edit("place: \"Chicago\"", "place: " + std::string(201, 'x'),
              {{4, "not one line of at most 200 bytes"}});
  expect("- version\n",
         {{1, "the topology must be a map of keys and values; write `version: ...`"}});
  expect("version: 1\nname: a\nsites: {}\nterritories: 5\nlinks: x\nservers: []\n",
         {{3, "`sites` of the topology must be a list"},
          {4, "`territories` of the topology must be a list"},
          {5, "`links` of the topology must be a list"},
          {6, "`servers` is an empty list"}});
}

TEST_CASE("names are small, short and given once", "[config][topology]") {
  for (const std::string& bad :
       {std::string("Demo"), std::string("9demo"), std::string("de_mo"), std::string("-demo"),
        std::string("d\xc3\xa9mo"), std::string(64, 'a')}) {
    expect_edit("name: demo\n", "name: " + bad + "\n",
                {{2, "is no name for a topology; begin with a small letter"}});
  }
  CHECK(good(replaced(kGood, "name: demo\n", "name: " + std::string(63, 'a') + "\n")).name.size() ==
        63);
  CHECK(good(replaced(kGood, "name: demo\n", "name: a-9-\n")).name == "a-9-");
  // A bad name is one mistake, not one for each use of it.
  expect(
      replaced(replaced(kGood, "{name: houston}", "{name: Houston}"), "to: houston", "to: Houston"),
      {{5, "`Houston` is no name for a site"}, {21, "did you mean `Houston`?"}});
  expect_edit("  - central", "  - Central!\n  - central",
              {{7, "`Central!` is no name for a territory"}});
  expect_edit("  - {name: houston}", "  - {name: houston}\n  - {name: chicago}",
              {{6, "site `chicago` stands twice (first in line 4)"}});
  expect_edit("  - {name: east, parent: central}", "  - {name: east, parent: central}\n  - central",
              {{9, "territory `central` stands twice (first in line 7)"}});
  expect_edit("  - name: hq", "  - name: master",
              {{13, "server `master` stands twice (first in line 12)"}});
  expect_edit("  - central", "  - central\n  - all", {{8, "`all` means every territory"}});
  expect_edit("  - central", "  - central\n  - \"a\\nb\"",
              {{8, "`a\\x0ab` is no name for a territory"}});
}

TEST_CASE("one master, and every branch below it", "[config][topology]") {
  expect_edit(
      "  - {name: master, site: chicago, kind: master, link: \"10.0.0.1:7400\", admin: "
      "\"10.0.0.1:7401\"}\n",
      "",
      {{12, "no server is the master; give one of them `kind: master`"},
       {15, "upstream `master` of server `hq` is not known"},
       {22, "upstream `master` of server `east` is not known"}});
  expect_edit("policies:",
              "  - {name: second, site: houston, kind: master, link: \"10.0.0.3:7400\", admin: "
              "\"10.0.0.3:1\"}\npolicies:",
              {{28, "a second master, `second` besides `master` (line 12); keep one"}});
  expect_edit("kind: master", "kind: mastre",
              {{12, "`kind` of server `master` is `mastre`, not `master` or `branch`"}});
  expect_edit("    upstream: master\n    territories: all\n", "    territories: all\n",
              {{13, "server `hq` lacks `upstream`; add e.g. `upstream: master`"}});
  expect_edit("    upstream: master\n    territories: all\n",
              "    upstream: mastr\n    territories: all\n",
              {{16, "upstream `mastr` of server `hq` is not known; did you mean `master`?"}});
  expect_edit("    upstream: master\n    territories: [central, east]",
              "    upstream: hq\n    territories: [central, east]",
              {{23,
                "server `east` has the branch `hq` as its upstream, which has no `link` where "
                "others could connect; give `hq` one, or name the master"}});
  expect_edit("    upstream: master\n    territories: all\n",
              "    upstream: hq\n    territories: all\n",
              {{16, "the upstreams go in a circle, `hq` -> `hq`; name the master"}});
  std::string circle = replaced(kGood, "    upstream: master\n    territories: all\n",
                                "    upstream: east\n    territories: all\n");
  circle = replaced(circle, "    upstream: master\n    territories: [central, east]",
                    "    upstream: hq\n    territories: [central, east]");
  expect(circle, {{16, "the upstreams go in a circle, `hq` -> `east` -> `hq`; name the master"},
                  {23, "server `east` has the branch `hq` as its upstream, which has no `link`"}});
}

TEST_CASE("a master and a branch have keys of their own", "[config][topology]") {
  expect_edit(
      "kind: master,",
      "kind: master, upstream: hq, territories: all, http: \"10.0.0.1:80\", dial: \"10.0.0.1:81\",",
      {{12, "`upstream` of server `master`: the master is where all upstreams lead; remove it"},
       {12,
        "`territories` of server `master`: the master has them all and subscribes to none; remove "
        "it"},
       {12,
        "`http` of server `master`: the master serves no office; remove it and put a branch "
        "beside"},
       {12, "`dial` of server `master`: the master dials nobody; remove it"}});
  expect_edit("link: \"10.0.0.1:7400\", ", "", {{12, "server `master` lacks `link`"}});
  expect_edit(", admin: \"10.0.0.1:7401\"", "", {{12, "server `master` lacks `admin`"}});
  expect_edit("    admin: \"10.0.0.2:7411\"\n", "", {{20, "server `east` lacks `admin`"}});
  expect_edit("    http: \"10.0.0.2:7410\"\n", "", {{20, "server `east` lacks `http`"}});
  expect_edit("    territories: all\n", "", {{13, "server `hq` lacks `territories`"}});
  // Others may have a branch as their upstream, where it holds what they hold.
  std::string hub = replaced(kGood, "    admin: \"10.0.0.1:7411\"\n",
                             "    admin: \"10.0.0.1:7411\"\n    link: \"10.0.0.1:7412\"\n");
  hub = replaced(hub, "    upstream: master\n    territories: [central, east]",
                 "    upstream: hq\n    territories: [central, east]");
  CHECK(good(hub).server("hq")->link.port == 7412);
  expect(replaced(hub, "    territories: all\n", "    territories: [east]\n"),
         {{24,
           "server `east` has the branch `hq` as its upstream, which does not hold its territory "
           "`central`; add it to the `territories` of `hq`, or name another upstream"}});
}

TEST_CASE("what is named exists", "[config][topology]") {
  expect_edit(
      "    site: houston", "    site: huston",
      {{21,
        "site `huston` (`site` of server `east`) is not known; did you mean `houston`? Else "
        "add it to `sites`"}});
  expect_edit("to: houston", "to: mars",
              {{10,
                "site `mars` (`to` of a link) is not known; add it to `sites` or name one that "
                "stands there"}});
  expect_edit("from: chicago", "from: chicgo", {{10, "did you mean `chicago`?"}});
  expect_edit("[central, east]", "[central,\n                  esat]",
              {{25, "territory `esat` of server `east` is not known; did you mean `east`?"}});
  expect_edit("parent: central", "parent: centre",
              {{8, "parent `centre` of territory `east` is not known; did you mean `central`?"}});
}

TEST_CASE("subscriptions", "[config][topology]") {
  expect_edit("[central, east]", "[]", {{24, "server `east` holds no territory"}});
  expect_edit("[central, east]", "[east, east]",
              {{24, "territory `east` stands twice in server `east`; keep one"}});
  expect_edit("[central, east]", "east",
              {{24, "is `east`, not a list; write `[name, ...]` with brackets, or `all`"}});
  expect_edit("[central, east]", "[all]",
              {{24, "`all` is no territory; write `territories: all`, without brackets"}});
}

TEST_CASE("the territories are a tree", "[config][topology]") {
  expect_edit("  - central\n  - {name: east, parent: central}",
              "  - {name: central, parent: west}\n  - {name: east, parent: central}\n  - name: "
              "west\n    parent: east",
              {{7,
                "the parents of territories go in a circle, `central` -> `west` -> `east` -> "
                "`central`; remove one"}});
  expect_edit("  - {name: east, parent: central}", "  - name: east\n    parent: east",
              {{9, "go in a circle, `east` -> `east`; remove one"}});
  // Two circles and a tail that leads into one of them: two mistakes.
  expect_edit("  - {name: east, parent: central}",
              "  - {name: tail, parent: a}\n  - {name: a, parent: b}\n  - {name: b, parent: a}\n"
              "  - {name: east, parent: south}\n  - {name: south, parent: east}",
              {{9, "`a` -> `b` -> `a`"}, {11, "`east` -> `south` -> `east`"}});
}

TEST_CASE("links", "[config][topology]") {
  expect_edit("rtt: 80ms", "rtt: 80",
              {{10, "`rtt` of a link is `80`, not a duration of at most 1min"}});
  expect_edit("rtt: 80ms", "rtt: 2h", {{10, "is `2h`, not a duration of at most 1min"}});
  expect_edit("rtt: 80ms, ", "", {{10, "a link lacks `rtt`; add e.g. `rtt: 80ms`"}});
  expect_edit("rate: 20Mbit", "rate: 20MB",
              {{10, "`rate` of a link is `20MB`, not a rate (units bit, kbit, Mbit, Gbit)"}});
  expect_edit("rate: 20Mbit", "rate: 0Mbit", {{10, "is `0Mbit`, not a rate"}});
  for (const char* bad : {"-1", "nan", "inf", "cheap", "1e9", "0x10"}) {
    expect_edit("price: 0.09", std::string("price: ") + bad, {{10, "not a price per GB"}});
  }
  expect_edit("to: houston", "to: chicago", {{10, "a link leads from site `chicago` to itself"}});
  expect_edit("servers:", "  - {from: houston, to: chicago, rtt: 1ms, rate: 1bit}\nservers:",
              {{11, "the link between `houston` and `chicago` stands twice (first in line 10)"}});
}

TEST_CASE("addresses are good and used once", "[config][topology]") {
  expect_edit("    dial: \"10.0.0.2:7412\"", "    dial: nowhere",
              {{27, "`dial` of server `east` is `nowhere`, not an address `host:port`"}});
  expect_edit("    http: \"10.0.0.2:7410\"", "    http: \"10.0.0.2:70000\"",
              {{25, "with a port from 1 to 65535"}});
  expect_edit("link: \"10.0.0.1:7400\"", "link: \"10.0.0.256:7400\"",
              {{12, "`link` of server `master` is `10.0.0.256:7400`"}});
  expect_edit("    http: \"10.0.0.2:7410\"", "    http: \"0.0.0.0:7410\"",
              {{25, "`http` of server `east` is `0.0.0.0`, which nobody else can connect to"}});
  expect_edit("    admin: \"10.0.0.2:7411\"", "    admin: \"[::0]:7411\"",
              {{26, "is `::`, which nobody else"}});
  expect_edit("    http: \"10.0.0.2:7410\"", "    http: \"10.0.0.1:7400\"",
              {{25,
                "`http` of server `east` is 10.0.0.1:7400, which is taken by `link` of server "
                "`master` (line 12)"}});
  expect_edit("    http: \"10.0.0.1:7410\"", "    http: \"10.0.0.1:7411\"",
              {{19,
                "`admin` of server `hq` is 10.0.0.1:7411, which is taken by `http` of server `hq` "
                "(line 18)"}});
  expect_edit("admin: \"10.0.0.1:7401\"", "admin: \"10.0.0.2:7411\"",
              {{26,
                "`admin` of server `east` is 10.0.0.2:7411, which is taken by `admin` of server "
                "`master` (line 12)"}});
  std::string spelled = replaced(kGood, "\"10.0.0.1:7410\"", "\"[2001:db8::1]:80\"");
  expect(replaced(spelled, "\"10.0.0.2:7410\"", "\"[2001:DB8:0::1]:80\""),
         {{25, "is [2001:db8::1]:80, which is taken by `http` of server `hq` (line 18)"}});
  expect_edit(
      "    dial: \"10.0.0.2:7412\"", "    dial: \"10.0.0.1:7410\"",
      {{27, "`dial` of server `east` is 10.0.0.1:7410, the `http` of server `hq` (line 18)"}});
  // Dialling the master's own address is the same as to leave `dial` out.
  CHECK(good(replaced(kGood, "    dial: \"10.0.0.2:7412\"", "    dial: \"10.0.0.1:7400\""))
            .server("east")
            ->dial == Endpoint{"10.0.0.1", 7400});
}

TEST_CASE("policies", "[config][topology]") {
  for (const char* bad : {"30", "0d", "3651d", "soon", "1m"}) {
    expect_edit(
        "max_offline: 30d", std::string("max_offline: ") + bad,
        {{29, "`max_offline` of the policies is `" + std::string(bad) + "`, not a duration"}});
  }
  expect_edit("max_offline: 30d", "max_offline: 36d",
              {{29, "`restore_window` (35d unless given) is shorter"}});
  expect_edit("max_offline: 30d", "restore_window: 29d",
              {{29, "`restore_window` (35d unless given) is shorter"}});
  Topology t =
      good(replaced(kGood, "max_offline: 30d", "max_offline: 12h\n  restore_window: 1.5d"));
  CHECK(t.policies.max_offline_us == 43'200'000'000);
  CHECK(t.policies.restore_window_us == 129'600'000'000);
  CHECK(good(replaced(kGood, "policies:\n  max_offline: 30d\n", "")).policies.max_offline_us ==
        2'592'000'000'000);
}

TEST_CASE("what is no YAML, or more of it than a topology needs", "[config][topology]") {
  for (const char* empty : {"", "\n\n", "# only a comment\n", "---\n", "~\n", "\xEF\xBB\xBF"}) {
    INFO(empty);
    expect(empty, {{1, "the file is empty; begin with `version: 1`"}});
  }
  expect("version: 1\nname: [a\nsites: b\n", {{3, "not YAML, "}});
  expect("version: 1\nname: a\n  sites: b\n", {{3, "not YAML, "}});
  expect("version: 1\nname: \"a\nb", {{3, "not YAML, "}});
  expect("version: 1\nname: {a: b\n", {{2, "not YAML, end of map flow not found; look at"}});
  expect("version: 1\nsites:\n  - {name: a,\n     place: b\nservers: []\n",
         {{5, "not YAML, end of map flow not found, within what begins in line 3; look at"}});
  expect("version: 1\nname: *a\n", {{2, "not YAML, "}});
  expect(kGood + "---\nversion: 1\n", {{30, "a second document begins here"}});
  expect("version: 1\nname: a\nsites: [[[[[[[[[x]]]]]]]]]\n",
         {{3, "lists and maps nest deeper than 8"}});
  expect("version: 1\nname: \xff\xfe\n", {{2, "not UTF-8"}});
  // yaml-cpp takes 0x04 for the end of the file.
  expect(replaced(kGood, "links:", "\x04\nlinks:"), {{9, "control character `\\x04`; remove it"}});
  expect(std::string("version: 1\nname: a\0b\n", 21), {{2, "control character `\\x00`"}});
  expect_edit("name: demo\n", "name: !!str demo\n",
              {{2, "tag `tag:yaml.org,2002:str`; tags mean nothing here"}});
  expect(std::string(limits::kMaxTopologyBytes + 1, ' '),
         {{1, "the file is larger than 1048576 bytes"}});
  CHECK(good("\xEF\xBB\xBF" + kGood).digest() == good().digest());
  std::string dos;
  for (char c : kGood) dos += c == '\n' ? std::string("\r\n") : std::string(1, c);
  CHECK(good(dos).digest() == good().digest());
}

TEST_CASE("anchors and aliases are refused, not expanded", "[config][topology]") {
  expect(replaced(replaced(kGood, "[central, east]", "*t"), "    territories: all",
                  "    territories: &t [central]"),
         {{17, "anchor `&t`; anchors and aliases are not taken here"},
          {24, "an alias; anchors and aliases"}});
  std::string bomb = "version: 1\nname: a\nx0: &x0 [a, a]\n";
  for (int i = 1; i < 40; ++i) {
    std::string before = "*x" + std::to_string(i - 1);
    bomb += "x" + std::to_string(i) + ": &x" + std::to_string(i) + " [" + before + ", " + before +
            "]\n";
  }
  auto result = parse_topology(bomb, kOrigin);
  REQUIRE_FALSE(result.has_value());
  CHECK_THAT(result.error().message, Catch::Contains("t.yaml:42: anchor `&x39`"));
}

TEST_CASE("all mistakes are told, up to a limit", "[config][topology]") {
  std::string text = kGood;
  text = replaced(text, "name: demo\n", "name: Demo\n");
  text = replaced(text, "clients: 40", "clients: x");
  text = replaced(text, "rtt: 80ms", "rtt: fast");
  text = replaced(text, "    site: houston", "    site: nowhere");
  text = replaced(text, "max_offline: 30d", "max_offline: x");
  expect(text, {{2, "`Demo`"}, {4, "`x`"}, {10, "`fast`"}, {21, "`nowhere`"}, {29, "`x`"}});

  std::string many = "version: 1\nname: a\nsites:\n";
  for (int i = 0; i < 150; ++i) many += "  - {name: A" + std::to_string(i) + "}\n";
  many +=
      "territories: [x]\nservers: [{name: m, site: A1, kind: master, link: \"a:1\", admin: "
      "\"a:2\"}]\n";
  auto result = parse_topology(many, kOrigin);
  REQUIRE_FALSE(result.has_value());
  auto told = lines_of(result.error().message);
  REQUIRE(told.size() == limits::kMaxTopologyMistakes + 1);
  CHECK_THAT(told[0], Catch::StartsWith("t.yaml:4: `A0` is no name"));
  CHECK(told.back() == "t.yaml:103: 50 more mistakes; mend those above first");
}

TEST_CASE("what passes can be committed", "[config][topology]") {
  auto schema = Schema::built_in();
  auto max_length = [&](const char* entity, const char* field) {
    return schema->entity(entity)->field(field)->max_length;
  };
  CHECK(max_length("server", "territorynames") == limits::kMaxSubscriptionText);
  CHECK(max_length("topology", "canonical") == limits::kMaxTopologyText);

  auto company = [](int territories, int branches) {
    std::string text = "version: 1\nname: a\nsites: [{name: s}]\nterritories:\n";
    for (int i = 0; i < territories; ++i)
      text += "  - " + std::string(55, 't') + std::to_string(1000 + i) + "\n";
    text += "servers:\n  - {name: m, site: s, kind: master, link: \"a:1\", admin: \"a:2\"}\n";
    for (int i = 0; i < branches; ++i) {
      text += "  - {name: b" + std::to_string(i) +
              ", site: s, kind: branch, upstream: m, territories: all, http: \"b" +
              std::to_string(i) + ":1\", admin: \"b" + std::to_string(i) + ":2\"}\n";
    }
    return text;
  };
  good(company(166, 5));
  expect(company(167, 1), {{174,
                            "the names of the territories of server `b0` come to 10020 characters, "
                            "at most 10000 fit"}});
  expect(company(166, 30), {{172, "characters in their committed form, at most 200000 fit"}});
  std::string crowd = company(1, 1001);
  auto result = parse_topology(crowd, kOrigin);
  REQUIRE_FALSE(result.has_value());
  CHECK_THAT(result.error().message,
             Catch::Contains("t.yaml:1007: `servers` has 1002 entries, at most 1000 are read"));
}

TEST_CASE("the canonical form leaves out what means nothing", "[config][topology]") {
  // The same topology, differently written: comments, order of keys and lists, quotes, spelling of
  // addresses.
  const std::string other = R"(# A comment.
policies: {restore_window: 35d, max_offline: 720h}
servers:
  - admin: "10.0.0.2:7411"
    kind: branch
    territories: ["east", central]   # in another order
    http: 10.0.0.2:7410
    dial: 10.0.0.2:7412
    name: east
    upstream: master
    site: houston
  - {admin: "10.0.0.1:7411", http: "10.0.0.1:7410", kind: branch, site: chicago, name: hq, upstream: master,
     territories: [central, east]}
  - {kind: master, name: master, site: chicago, admin: "10.0.0.1:7401", link: "10.0.0.1:7400"}
territories: [{parent: central, name: east}, {name: central}]
sites: [{name: houston, clients: 9}, {name: chicago, place: "Elsewhere"}]
name: 'demo'
version: 1
)";
  CHECK(good(other).canonical() == good().canonical());
  CHECK(good(other).digest() == good().digest());
  CHECK(good().digest().size() == 64);
}

TEST_CASE("the digest changes with whatever servers must agree on", "[config][topology]") {
  std::vector<std::string> digests{good().digest()};
  auto changed = [&](const std::string& from, const std::string& to) {
    INFO(from << "  =>  " << to);
    std::string digest = good(replaced(kGood, from, to)).digest();
    CHECK(std::find(digests.begin(), digests.end(), digest) == digests.end());
    digests.push_back(digest);
  };
  changed("name: demo\n", "name: demo2\n");
  changed("  - central\n", "  - central\n  - west\n");
  changed("{name: east, parent: central}", "east");
  changed("name: hq", "name: head");
  changed("    site: houston", "    site: chicago");
  changed("[central, east]", "[east]");
  changed("10.0.0.1:7400", "10.0.0.1:7499");
  changed("10.0.0.1:7401", "10.0.0.1:7498");
  changed("10.0.0.2:7410", "10.0.0.3:7410");
  changed("10.0.0.2:7411", "10.0.0.3:7411");
  changed("10.0.0.2:7412", "10.0.0.3:7412");
  changed("    dial: \"10.0.0.2:7412\"\n", "");
  changed("max_offline: 30d", "max_offline: 29d");
  changed("max_offline: 30d", "restore_window: 36d");

  auto edited = [&](auto edit) {
    Topology t = good();
    edit(t.servers[2]);
    CHECK(t.digest() != good().digest());
  };
  edited([](ServerSpec& s) { s.kind = ServerKind::master; });
  edited([](ServerSpec& s) { s.upstream = "hq"; });
  edited([](ServerSpec& s) { s.name = "east2"; });
}

TEST_CASE("every file in topology/ is good", "[config][topology]") {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(topology_folder())) {
    if (entry.path().extension() != ".yaml") continue;
    INFO(entry.path());
    auto topology = load_topology(entry.path().string());
    INFO((topology ? "" : topology.error().message));
    REQUIRE(topology.has_value());
    // The file bears the topology's name.
    CHECK(entry.path().stem() == topology->name);
    names.push_back(topology->name);
  }
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"demo", "single", "two-regions"});
}

TEST_CASE("the demo has its offices where other tools expect them", "[config][topology]") {
  auto demo = load_topology((topology_folder() / "demo.yaml").string());
  REQUIRE(demo.has_value());
  REQUIRE(demo->servers.size() == 6);
  CHECK(demo->master().link == Endpoint{"127.0.0.1", 7400});
  CHECK(demo->master().admin == Endpoint{"127.0.0.1", 7401});
  CHECK(demo->server("hq")->http == Endpoint{"127.0.0.1", 7410});
  CHECK(demo->server("hq")->territories.size() == 4);
  CHECK_FALSE(demo->server("hq")->dial);
  uint16_t port = 7420;
  for (const char* office : {"central", "east", "south", "west"}) {
    const ServerSpec* s = demo->server(office);
    REQUIRE(s);
    CHECK(s->territories == std::vector<std::string>{office});
    CHECK(s->http.port == port);
    CHECK(s->admin.port == port + 1);
    REQUIRE(s->dial);
    CHECK(s->dial->port == port + 2);
    auto link = std::find_if(demo->links.begin(), demo->links.end(),
                             [&](const LinkSpec& l) { return l.to == s->site; });
    REQUIRE(link != demo->links.end());
    CHECK(link->from == "chicago");
    CHECK(link->rtt_us == 80'000);
    CHECK(link->rate_bits == 20'000'000);
    port = static_cast<uint16_t>(port + 10);
  }
}

TEST_CASE("a file that cannot be read", "[config][topology]") {
  TemporaryFile file;
  const std::string path = file.path().string();
  auto missing = load_topology(path);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().kind == ErrorKind::not_found);
  CHECK(missing.error().code == "topology.unreadable");
  CHECK_THAT(missing.error().message,
             Catch::StartsWith(path + ": cannot be read, No such file or directory; check"));

  auto folder = load_topology(fs::temp_directory_path().string());
  REQUIRE_FALSE(folder.has_value());
  CHECK_THAT(folder.error().message, Catch::Contains("cannot be read, it is no regular file"));

  // Nobody writes to this pipe: opening it would wait for ever.
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  auto pipe = load_topology(path);
  REQUIRE_FALSE(pipe.has_value());
  CHECK_THAT(pipe.error().message, Catch::Contains("it is no regular file"));
  fs::remove(file.path());

  std::ofstream(path) << std::string(limits::kMaxTopologyBytes * 2, '#');
  auto large = load_topology(path);
  REQUIRE_FALSE(large.has_value());
  CHECK_THAT(large.error().message,
             Catch::StartsWith(path + ":1: the file is larger than 1048576 bytes; "));

  std::ofstream(path, std::ios::trunc) << kGood;
  auto written = load_topology(path);
  REQUIRE(written.has_value());
  CHECK(written->digest() == good().digest());
  std::ofstream(path, std::ios::app) << "  offline: 1d\n";
  auto bad = load_topology(path);
  REQUIRE_FALSE(bad.has_value());
  CHECK_THAT(bad.error().message, Catch::StartsWith(path + ":30: unknown key `offline`"));
}

TEST_CASE("a damaged file is answered, never taken amiss", "[config][robustness]") {
  const std::string demo = read_file(topology_folder() / "demo.yaml");
  constexpr uint64_t kRounds = 600;
  size_t taken = 0;
  for (uint64_t seed = 1; seed <= kRounds; ++seed) {
    SeededRandom random(seed);
    std::string text = demo;
    switch (seed % 3) {
      case 0:
        for (uint64_t n = 1 + random.below(8); n > 0; --n) {
          text[random.below(text.size())] ^= static_cast<char>(1 + random.below(255));
        }
        break;
      case 1:
        text.resize(random.below(text.size()));
        break;
      default: {
        auto lines = lines_of(text);
        for (uint64_t n = 1 + random.below(3); n > 0; --n) {
          lines.erase(lines.begin() + static_cast<ptrdiff_t>(random.below(lines.size())));
        }
        text.clear();
        for (const auto& line : lines) text += line + "\n";
      }
    }
    INFO("seed " << seed << "\n" << text);
    auto result = parse_topology(text, kOrigin);
    if (result) {
      ++taken;
      CHECK(result->master().kind == ServerKind::master);
      CHECK(result->digest().size() == 64);
      continue;
    }
    CHECK(result.error().kind == ErrorKind::invalid);
    auto told = lines_of(result.error().message);
    REQUIRE_FALSE(told.empty());
    for (const auto& line : told) CHECK_THAT(line, Catch::Matches("t\\.yaml:[1-9][0-9]*: .+; .+"));
  }
  // Both ways out were seen: damage to a comment is none.
  CHECK(taken > 0);
  CHECK(taken < kRounds / 2);
}

TEST_CASE("large files of one thing are answered in time", "[config][robustness]") {
  for (const char* piece :
       {"[",      "{",     "- ",          "? ",       "a: ",     "&a ",    "*a ",
        "!",      "'",     "\"",          "-\n",      "a:\n",    "k: v\n", "[a, ",
        "- {}\n", "---\n", "%YAML 1.2\n", "<<: *a\n", "- - a\n", "|\n",    "\n"}) {
    std::string text = "version: 1\nsites:\n";
    while (text.size() + std::string_view(piece).size() <= limits::kMaxTopologyBytes) text += piece;
    INFO(piece);
    auto result = parse_topology(text, kOrigin);
    REQUIRE_FALSE(result.has_value());
    CHECK_THAT(result.error().message, Catch::StartsWith(kOrigin + ":"));
  }
}

}  // namespace branchline
