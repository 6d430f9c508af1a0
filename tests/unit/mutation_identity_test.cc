// What a write made through an office's interface is, from its acceptance to its fate: read from
// the outbox, from what the session ships and from what the master decides on.
#include <catch2/catch.hpp>

#include "common/base/limits.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "replication/session/branch_session.h"
#include "tests/support/fields.h"
#include "tests/support/live_office.h"
#include "tests/support/must.h"

namespace branchline {
namespace {

std::string header(const HttpResponse& r, const std::string& name) {
  for (const auto& [n, v] : r.headers) {
    if (n == name) return v;
  }
  return "";
}

// All that waits in an office's store, as it stands there.
std::vector<OutboxBlock> outbox_of(const MemStore& store) {
  std::vector<OutboxBlock> out;
  // Not what is decided and kept for a master that is restored.
  auto rows = store.scan(Table::outbox, {}, std::string(1, static_cast<char>(keys::kKept)));
  for (; rows->valid(); rows->next())
    out.push_back(
        must(decode_outbox_block(*keys::parse_outbox(rows->key()), std::string(rows->value()))));
  return out;
}

// The branch's end of a link, with its frames as the master reads them.
class Shipper {
 public:
  Shipper(SmallOffice& office, SmallMaster& master, LinkBudget* budget = nullptr)
      : office_(office) {
    Introduction intro = office.introduction();
    registration = master.register_branch(intro);
    outbox_ = std::make_unique<ReplicaOutbox>(office.store, office.replica->state().side);
    session = std::make_unique<BranchSession>(*outbox_, 0, budget);
    session->set_hurried(office.replica->state().hurried);
    session->start(intro, 0);
  }
  BranchEffects welcome() {
    return receive(FrameType::welcome, encode_welcome(registration, office_.clock.ms));
  }
  BranchEffects receive(FrameType type, std::string payload) {
    BranchEffects e = session->on_frame({type, std::move(payload)}, 0, office_.clock.ms);
    if (e.close) FAIL(e.close->code << ": " << e.close->message);
    return e;
  }
  // The blocks in what was sent; nothing else is expected there.
  std::vector<MutationBlock> blocks(const BranchEffects& effects) {
    std::vector<MutationBlock> out;
    for (const auto& bytes : effects.frames) {
      FrameDecoder decoder;
      decoder.append(bytes);
      auto frame = must(decoder.next());
      REQUIRE(frame);
      REQUIRE(frame->type == FrameType::mutations);
      out.push_back(must(decode_mutation_block(
          must(decompressor_.decompress(frame->payload, limits::kMaxBlockBytes)))));
    }
    return out;
  }
  Registration registration;
  std::unique_ptr<BranchSession> session;

 private:
  SmallOffice& office_;
  std::unique_ptr<ReplicaOutbox> outbox_;
  StreamDecompressor decompressor_;
};

// What no route of the interface offers yet: conditions and atomicity of the author's own.
class GuardedCommand : public Command {
 public:
  GuardedCommand(SmallWorld& world, SmallOffice& office, std::string expected)
      : world_(world), expected_(std::move(expected)) {
    author = world.user;
    credential = office.credential;
  }
  Result<Draft> prepare(Workspace& view, RecordIdMaker&, int64_t) override {
    Draft draft;
    draft.atomic = true;
    draft.ops = world_.names.parse_all("update a name=Guarded", view, draft.arena);
    RecordKey key = draft.ops[0].record;
    FieldId name = world_.schema->entity(key.entity)->field("name")->id;
    draft.guards.push_back({key, name, {ValueType::text, draft.arena.copy(expected_)}});
    return draft;
  }

 private:
  SmallWorld& world_;
  std::string expected_;
};

struct Office {
  SmallWorld world;
  SmallOffice& east = world["east"];
  RecordId second_user, second_token;
  std::unique_ptr<LiveOffice> live;

  Office() {
    REQUIRE(world["hq"].write("create account a @east name=Acme") == "ok");
    // Another author, with a token of his own.
    auto text =
        "create systemuser ben fullname=Ben isadministrator=false; "
        "create apitoken bens @east systemuserid=ben access=2 tokenhash=" +
        token_hash("bens");
    REQUIRE(world.master.commit(world.names.parse_all(text, world.master.ingest->workspace(),
                                                      world.arena)) == "applied");
    second_user = world.names.key("ben").id;
    second_token = world.names.key("bens").id;
    world.settle();
    live = std::make_unique<LiveOffice>(east);
  }
  HttpResponse send(const std::string& method, const std::string& target, const std::string& body,
                    LiveOffice::Headers headers = {}) {
    return live->request(method, LiveOffice::kData + target, body, std::move(headers));
  }
  std::string account() { return "accounts(" + to_string(world.names.key("a").id) + ")"; }
  // News from head office arrive: what the office writes from now on has seen them.
  void news() {
    REQUIRE(world["hq"].write("update a description=news") == "ok");
    world["hq"].ship();
    live->on_replica([&](Replica&, const Committer::Write&) { east.fetch(); });
  }
  // A stop and a start, everything synced; the interface with it.
  void restart() {
    live.reset();
    REQUIRE(east.store.sync());
    east.crash();
    east.start();
    live = std::make_unique<LiveOffice>(east);
  }
};

}  // namespace

TEST_CASE("SEMANTICS 2: what an office writes carries who, when, where and on what base",
          "[office][identity]") {
  Office o;
  const ReplicaState& state = o.east.replica->state();
  Incarnation first_start = state.incarnation;
  LineId line = state.cursor.line;
  Csn base1 = state.cursor.csn;
  REQUIRE(line.value != 0);
  REQUIRE(base1.value != 0);
  auto& clock = o.east.clock.ms;

  // 1: a create with a key. Between the writes: what is refused, or answered from memory, uses no
  // number.
  clock += 5;
  int64_t at1 = clock;
  std::string body = R"({"name":"Beta","telephone1":"+1 555 0100","Branchline.territory":"east"})";
  LiveOffice::Headers key{{"Idempotency-Key", "order 4711"}};
  HttpResponse made = o.send("POST", "accounts", body, key);
  INFO(made.body);
  REQUIRE(made.status == 204);
  CHECK(o.send("POST", "accounts", R"({"nonsense":1})").status == 400);
  CHECK(o.send("PATCH", o.account(), R"({"name":"X"})", {{"If-Match", "\"0000000000000001\""}})
            .status == 412);
  CHECK(o.send("POST", "accounts", body, key).status == 204);  // the same again: nothing new
  CHECK(o.send("POST", "accounts", R"({"name":"Other"})", key).status == 422);
  // 2: in the same millisecond, after news, by another author, who has a token of his own.
  o.news();
  Csn base2 = o.live->status().cursor.csn;
  REQUIRE(base2 > base1);
  REQUIRE(o.send("PATCH", o.account(), R"({"telephone1":"+1 555 0101"})",
                 {{"Authorization", "Bearer bens"}})
              .status == 204);
  // 3: atomic, with a condition to be checked at the master.
  clock += 2;
  int64_t at3 = clock;
  auto wrong = o.live->submit(std::make_shared<GuardedCommand>(o.world, o.east, "Another"));
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code == "write.guard");
  REQUIRE(o.live->submit(std::make_shared<GuardedCommand>(o.world, o.east, "Acme")));
  // 4: of the next process start, after more news.
  o.restart();
  o.news();
  Csn base4 = o.live->status().cursor.csn;
  Incarnation second_start = o.live->status().incarnation;
  clock += 1000;
  int64_t at4 = clock;
  REQUIRE(o.send("DELETE", o.account(), "").status == 204);

  std::vector<OutboxBlock> blocks = outbox_of(o.east.store);
  std::vector<const Mutation*> all;
  for (const auto& b : blocks)
    for (const auto& e : b.entries) all.push_back(&e.mutation);
  REQUIRE(all.size() == 4);
  CHECK(second_start != first_start);
  OriginId east = o.east.registration.origin;
  RecordId author = o.world.user, credential = o.east.credential;
  REQUIRE(author != credential);
  struct Expected {
    Incarnation incarnation;
    uint64_t seq;
    Csn base;
    int64_t ms;
    RecordId author, credential;
  };
  const Expected expected[] = {{first_start, 1, base1, at1, author, credential},
                               {first_start, 2, base2, at1, o.second_user, o.second_token},
                               {first_start, 3, base2, at3, author, credential},
                               {second_start, 1, base4, at4, author, credential}};
  Hlc before;
  for (size_t i = 0; i < 4; ++i) {
    INFO("mutation " << i + 1);
    const Mutation& m = *all[i];
    const Expected& e = expected[i];
    CHECK(m.id == MutationId{east, e.incarnation, Lane::interactive, Seq(e.seq)});
    CHECK(m.order == Order(e.seq));
    CHECK(m.line == line);
    CHECK(m.base == e.base);
    CHECK(m.hlc.ms() == e.ms);
    CHECK(m.hlc > before);
    before = m.hlc;
    CHECK(m.author == e.author);
    CHECK(m.credential == e.credential);
    CHECK(m.schema_version == o.world.schema->version());
    CHECK(m.atomic == (i == 2));
    CHECK(m.operation_key == (i == 0 ? "order 4711" : ""));
    REQUIRE(m.guards.size() == (i == 2 ? 1 : 0));
    REQUIRE(m.ops.size() == 1);
  }
  CHECK(o.world.schema->version() != 0);

  // Operations, each with its kind and content.
  const Entity& account = *o.world.schema->entity("account");
  RecordKey a = o.world.names.key("a");
  auto cell = [&](const RecordOp& op, const char* field) -> const CellOp* {
    for (const auto& c : op.cells) {
      if (c.field == account.field(field)->id) return &c;
    }
    return nullptr;
  };
  const RecordOp& create = all[0]->ops[0];
  CHECK(create.kind == RecordOpKind::create);
  CHECK(create.record == RecordKey{account.id, keyed_record_id(author, "order 4711", 0)});
  REQUIRE(cell(create, "name"));
  CHECK(cell(create, "name")->kind == CellOpKind::set);
  CHECK(cell(create, "name")->value.payload == "Beta");
  const RecordOp& update = all[1]->ops[0];
  CHECK(update.kind == RecordOpKind::update);
  CHECK(update.record == a);
  REQUIRE(update.cells.size() == 1);
  CHECK(cell(update, "telephone1"));
  CHECK(all[3]->ops[0].kind == RecordOpKind::remove);
  CHECK(all[3]->ops[0].record == a);
  const Guard& guard = all[2]->guards[0];
  CHECK(guard.record == a);
  CHECK(guard.field == account.field("name")->id);
  CHECK(guard.expected == Value{ValueType::text, "Acme"});

  // The answer named it so that it can be asked for.
  CHECK(header(made, "Branchline-Mutation") ==
        "east." + to_hex(first_start.value) + ".interactive.1");

  // The session ships the same, field by field, the older process start first, and the blocks
  // continue the chains that the incarnations' rows began.
  Shipper link(o.east, o.world.master);
  std::vector<MutationBlock> shipped = link.blocks(link.welcome());
  REQUIRE(shipped.size() >= 2);
  std::vector<const Mutation*> sent;
  for (const auto& b : shipped) {
    for (const auto& m : b.mutations) {
      CHECK(b.stream == stream_of(m.id));
      sent.push_back(&m);
    }
  }
  REQUIRE(sent.size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    INFO("mutation " << i + 1);
    CHECK(fields::same(*sent[i], *all[i]));
  }
  // And the master, which checks the chain over all of it, decides each on its base.
  for (auto& b : shipped) {
    std::vector<IncomingBlock> incoming;
    incoming.push_back({link.registration.origin, link.registration.session, std::move(b)});
    IngestResult decided = o.world.master.decide(std::move(incoming));
    for (const auto& broken : decided.broken) FAIL_CHECK(broken.error.message);
  }
  o.live->on_replica([&](Replica&, const Committer::Write&) { o.east.fetch(); });
  CHECK(outbox_of(o.east.store).empty());
  CHECK(o.live->status().ledger.applied == 4);
}

TEST_CASE("SEMANTICS 32: what both lanes hold is found, and known here to whoever saw it",
          "[office][lanes]") {
  Office o;
  auto mutation = [](const HttpResponse& r) {
    INFO(r.body);
    REQUIRE(r.status == 204);
    return header(r, "Branchline-Mutation");
  };
  auto edit = [&](const char* phone) {
    return mutation(
        o.send("PATCH", o.account(), std::string("{\"telephone1\":\"") + phone + "\"}"));
  };
  auto import = [&](const char* name) {
    return mutation(
        o.send("POST", "accounts",
               std::string("{\"Branchline.territory\":\"east\",\"name\":\"") + name + "\"}",
               {{"Branchline-Lane", "bulk"}}));
  };
  // Orders count across the lanes, seqs do not.
  std::vector<std::string> all{edit("+1 555 0001"), import("One"), import("Two"), import("Three"),
                               edit("+1 555 0002")};
  for (const auto& id : all) {
    INFO(id);
    HttpResponse r = o.live->request("GET", "/api/sync/mutations/" + id);
    CHECK(r.status == 200);
    CHECK_THAT(r.body, Catch::Contains("\"state\":\"pending\""));
  }
  CHECK(all[3].find(".bulk.3") != std::string::npos);
  CHECK(o.live->request("GET", "/api/sync/mutations/" + all[3].substr(0, all[3].size() - 1) + "4")
            .status == 404);
  CHECK(o.live->request("GET", "/api/sync/mutations/" + all[3].substr(0, all[3].size() - 1) + "0")
            .status >= 400);

  std::string token = header(o.send("GET", o.account(), ""), "Branchline-Session");
  REQUIRE_FALSE(token.empty());
  HttpResponse again =
      o.send("GET", o.account(), "", {{"Branchline-Session", token}, {"Prefer", "wait=0"}});
  INFO(again.body);
  CHECK(again.status == 200);
  CHECK(o.send("GET", o.account(), "", {{"Branchline-Lane", "express"}}).status == 200);
  CHECK(o.send("PATCH", o.account(), "{\"name\":\"x\"}", {{"Branchline-Lane", "express"}}).status ==
        400);
}

TEST_CASE("SEMANTICS 20: an acknowledgement says \"received\", and nothing more", "[office][ack]") {
  Office o;
  auto write = [&](const std::string& phone) {
    HttpResponse r = o.send("PATCH", o.account(), "{\"telephone1\":\"" + phone + "\"}");
    REQUIRE(r.status == 204);
    return header(r, "Branchline-Mutation");
  };
  auto state_of = [&](const std::string& mutation) {
    std::string body = o.live->request("GET", "/api/sync/mutations/" + mutation).body;
    size_t at = body.find("\"state\":\"") + 9;
    return body.substr(at, body.find('"', at) - at);
  };
  auto status = [&] { return o.live->request("GET", "/api/sync/status").body; };
  auto fates = [&] { return o.send("GET", "fates", "").body; };
  // What a branch server does with what its session says (branch/uplink): ranges are applied, in
  // order.
  auto perform = [&](BranchEffects& effects) {
    CHECK_FALSE(effects.welcome);
    for (auto& range : effects.ranges) {
      o.live->on_replica([&](Replica& replica, const Committer::Write& put) {
        REQUIRE(put(must(replica.apply(range)).batch, Sync::no));
      });
    }
  };
  Ledger before = o.live->status().ledger;
  std::string before_fates = fates();
  std::string first = write("+1 555 0001"), second = write("+1 555 0002");
  auto undecided = [&] {
    CHECK(state_of(first) == "pending");
    CHECK(state_of(second) == "pending");
    Ledger l = o.live->status().ledger;
    CHECK(l.accepted == before.accepted + 2);
    CHECK(l.pending == before.pending + 2);
    CHECK(l.applied == before.applied);
    CHECK(l.merged + l.overridden + l.rejected + l.lost ==
          before.merged + before.overridden + before.rejected + before.lost);
    CHECK_THAT(status(), Catch::Contains("\"pending\":2,\"pendingSince\":"));
    CHECK(fates() == before_fates);
    size_t waiting = 0;
    for (const auto& b : outbox_of(o.east.store)) waiting += b.entries.size();
    CHECK(waiting == 2);
  };
  undecided();

  LineCursor cursor = o.live->status().cursor;
  Shipper link(o.east, o.world.master);
  std::vector<MutationBlock> shipped = link.blocks(link.welcome());
  undecided();
  // The master decides and commits; what comes first is its acknowledgement.
  Seq last;
  for (auto& b : shipped) {
    std::vector<IncomingBlock> incoming;
    incoming.push_back({link.registration.origin, link.registration.session, std::move(b)});
    for (const auto& ack : o.world.master.decide(std::move(incoming)).acks) {
      last = ack.seq;
      BranchEffects effects = link.receive(FrameType::ack, encode_ack({ack.stream, ack.seq}));
      CHECK(link.blocks(effects).empty());
      perform(effects);
    }
  }
  REQUIRE(last == Seq(2));
  REQUIRE(o.world.master.feed->head().csn > cursor.csn);
  CHECK(link.session->in_flight_bytes() == 0);
  undecided();
  CHECK(o.live->status().cursor == cursor);
  // A heartbeat says how far the master is, which decides nothing either.
  Heartbeat beat;
  beat.csn = o.world.master.feed->head().csn;
  BranchEffects at_beat = link.receive(FrameType::heartbeat, encode_heartbeat(beat));
  perform(at_beat);
  undecided();

  SECTION("it is not sent again") {
    CHECK(link.session->on_outbox().frames.empty());
    // Nor over the next connection, whose welcome says what the master has.
    Shipper next(o.east, o.world.master);
    CHECK(next.blocks(next.welcome()).empty());
    CHECK(next.session->on_outbox().frames.empty());
    // What comes after it goes alone.
    std::string third = write("+1 555 0003");
    auto after = next.blocks(next.session->on_outbox());
    REQUIRE(after.size() == 1);
    REQUIRE(after[0].mutations.size() == 1);
    CHECK(after[0].mutations[0].id.seq == Seq(3));
  }
  SECTION("it is still pending after a restart") {
    o.restart();
    undecided();
  }
  SECTION("until the range with its fate is applied") {
    FeedScope scope{o.east.registration.origin, {kReferenceTerritory}, {}};
    for (auto t : o.east.registration.territories) scope.territories.insert(t);
    auto range = must(o.world.master.feed->read(cursor, scope, 1 << 20));
    for (const auto& part : encode_feed(range)) {
      BranchEffects effects = link.receive(FrameType::feed, part);
      CHECK(effects.frames.empty());
      undecided();  // the range is here, and not applied
      perform(effects);
    }
    CHECK(state_of(first) == "applied");
    CHECK(state_of(second) == "applied");
    Ledger l = o.live->status().ledger;
    CHECK(l.pending == before.pending);
    CHECK(l.applied == before.applied + 2);
    CHECK_THAT(status(), Catch::Contains("\"pending\":0,\"ledger\""));
    CHECK(outbox_of(o.east.store).empty());
  }
}

TEST_CASE("what an edit hurried over one connection opens no hours for the next", "[lanes]") {
  Office o;
  auto bulk = [&](const std::string& name) {
    auto made =
        o.send("POST", "accounts", R"({"name":")" + name + R"(","Branchline.territory":"east"})",
               {{"Branchline-Lane", "bulk"}});
    REQUIRE(made.status == 204);
    std::string id = header(made, "OData-EntityId");
    return id.substr(id.rfind('/') + 1);
  };
  // Closed for the next hour at least.
  int64_t hour = o.east.clock.ms / 3'600'000 % 24;
  LinkBudget line({.bulk_hours = DailyHours::parse(hour < 12 ? "18:00-20:00" : "06:00-08:00")});
  std::string imported = bulk("one");
  {
    Shipper link(o.east, o.world.master, &line);
    CHECK(link.blocks(link.welcome()).empty());
    CHECK(link.session->lane(Lane::bulk).hold == SendHold::hours);
  }
  bulk("two");
  REQUIRE(o.send("PATCH", imported, R"({"name":"One"})").status == 204);
  {
    Shipper link(o.east, o.world.master, &line);
    auto blocks = link.blocks(link.welcome());
    REQUIRE(blocks.size() == 1);
    CHECK(blocks[0].mutations.size() == 3);
  }
  o.live->on_replica([&](Replica&, const Committer::Write&) {
    o.east.connect();
    o.east.ship();
    o.east.fetch();
  });
  bulk("three");
  Shipper link(o.east, o.world.master, &line);
  CHECK(link.blocks(link.welcome()).empty());
  CHECK(link.session->lane(Lane::bulk).hold == SendHold::hours);
  REQUIRE(o.send("PATCH", o.account(), R"({"telephone1":"+1 555 0199"})").status == 204);
  CHECK(link.blocks(link.session->on_outbox()).size() == 1);  // people's work goes
}

}  // namespace branchline
