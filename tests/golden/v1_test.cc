// What version 0.1 wrote, for ever: its golden files as they were released, and its schema.
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/base/bytes.h"
#include "replication/merge/policy.h"
#include "tests/golden/formats.h"

namespace branchline::golden {
namespace {

const std::string kFolder = std::string(BRANCHLINE_GOLDEN_DIR) + "/v1";

const Format* format_named(const std::string& name) {
  for (const auto& f : formats()) {
    if (f.name == name) return &f;
  }
  return nullptr;
}

TEST_CASE("golden v1: today's decoders read what version 0.1 wrote") {
  size_t files = 0, entries = 0;
  for (const auto& at : std::filesystem::directory_iterator(kFolder)) {
    if (at.path().extension() != ".hex") continue;
    ++files;
    INFO(at.path().filename());
    auto file = read(at.path());
    if (!file) FAIL(file.error().message);
    const Format* format = format_named(file->header["format"]);
    REQUIRE(format);
    bool same_version = file->header["version"] == std::to_string(format->version);
    for (const auto& e : file->entries) {
      INFO(e.name);
      std::string name = e.name.substr(0, e.name.find(','));
      const Case* found = nullptr;
      for (const auto& c : format->cases) found = c.name == name ? &c : found;
      REQUIRE(found);
      if (!found->recode) continue;  // only written; what reads it compares it
      auto again = found->recode(e.bytes);
      if (!again) FAIL(again.error().message);
      // A raised version reads these bytes and writes others.
      if (same_version) CHECK(hex(*again) == hex(e.bytes));
      ++entries;
    }
  }
  CHECK(files == 44);
  CHECK(entries > 120);
}

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

const std::string kSchemaOfV1 = text_of(kFolder + "/crm.yaml");

// With the entities that today's merge writes itself and that the parser therefore demands.
std::shared_ptr<const Schema> schema_of_v1() {
  std::string now = text_of(BRANCHLINE_SOURCE_DIR "/common/schema/crm.yaml");
  size_t begin = now.find("  - id: 20\n    name: conflict\n");
  size_t end = now.find("  # Entity sets without records of their own");
  REQUIRE(begin < end);
  REQUIRE(end != std::string::npos);
  auto schema = Schema::parse(kSchemaOfV1 + now.substr(begin, end - begin), "v1/crm.yaml");
  if (!schema) FAIL(schema.error().message);
  return *schema;
}

// Every operation that the old policy took, the new one takes too: a server of the version before
// sends it, and its work must not be rejected.
bool takes_all_of(Policy now, Policy before) {
  for (uint8_t k = 1; k < 16; ++k) {
    auto kind = static_cast<CellOpKind>(k);
    if (rule_of(kind, before) != Rule::refuse && rule_of(kind, now) == Rule::refuse) return false;
  }
  return true;
}

TEST_CASE("schema: the built-in one extends that of version 0.1") {
  auto before = schema_of_v1();
  auto now = Schema::built_in();
  CHECK(before->version() == 1);
  if (now->version() == 2) CHECK(now->extends() == sha256(kSchemaOfV1));
  for (const auto& e : before->entities()) {
    INFO(e->name);
    if (e->since > 1) continue;
    const Entity* same = now->entity(e->id);
    REQUIRE(same);
    CHECK(same->name == e->name);
    CHECK(same->territory == e->territory);
    CHECK(same->virtual_set == e->virtual_set);
    CHECK(same->since == 1);
    for (const auto& f : e->fields) {
      INFO(f.name);
      const Field* g = same->field(f.id);
      REQUIRE(g);
      CHECK(g->type == f.type);
      CHECK(g->element == f.element);
      CHECK(g->is_collection() == f.is_collection());
      CHECK(g->since == 1);
      CHECK(takes_all_of(g->policy, f.policy));
      for (EntityId t : f.targets)
        CHECK(std::find(g->targets.begin(), g->targets.end(), t) != g->targets.end());
    }
  }
  // What is new says since when, so that nobody writes it before all can read it.
  for (const auto& e : now->entities()) {
    INFO(e->name);
    const Entity* old = before->entity(e->id);
    if (!old && !e->virtual_set) CHECK(e->since > 1);
    if (!old || old->since > 1) continue;
    for (const auto& f : e->fields) {
      INFO(f.name);
      // It says itself which level the line is at.
      if (e->id == entity_id::kTopology && f.name == "featurelevel") continue;
      if (!old->field(f.id)) CHECK((f.since > 1 || e->virtual_set));
    }
  }
}

}  // namespace
}  // namespace branchline::golden
