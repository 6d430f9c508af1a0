// What a master answers to branches that lie, stumble or are nobody: a refusal by name, each time,
// while it goes on serving a good branch and loses nothing of its work. The real program, over TLS.
#include <exception>
#include <fstream>

#include "branch/replica/replica.h"
#include "common/base/limits.h"
#include "common/config/topology.h"
#include "common/store/mem_store.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "replication/session/branch_session.h"
#include "tests/contract/wan_fixture.h"
#include "tests/support/link_world.h"

namespace branchline {
namespace {

using namespace link_test;
using Catch::Contains;

// branchline-master on ports of its own, started once: each case is another connection to it.
struct RealMaster {
  TempFolder folder;
  uint16_t port = wan_test::free_port();
  std::string digest;
  std::optional<wan_test::Child> child;

  RealMaster() {
    std::string path = folder / "topology.yaml";
    auto address = [](uint16_t p) { return "\"127.0.0.1:" + std::to_string(p) + "\""; };
    std::ofstream(path) << "version: 1\nname: small\nsites:\n  - {name: here, place: "
                           "Here}\nterritories: [north]\nservers:\n"
                        << "  - {name: master, site: here, kind: master, link: " << address(port)
                        << ", admin: " << address(wan_test::free_port()) << "}\n"
                        << branch("hamburg") << branch("bremen");
    auto topology = load_topology(path);
    BL_CHECK(topology);
    digest = topology->digest();
    (void)ids();  // makes the certificates
    child.emplace(std::vector<std::string>{std::string(BRANCHLINE_BIN_DIR) + "/branchline-master",
                                           "--topology", path, "--server", "master", "--data",
                                           folder / "data", "--tls", ids().folder / "master"});
    wan_test::eventually("the master listens",
                         [&] { return wan_test::try_connect(port).has_value(); });
  }
  static std::string branch(const std::string& name) {
    auto address = [] { return "\"127.0.0.1:" + std::to_string(wan_test::free_port()) + "\""; };
    return "  - {name: " + name +
           ", site: here, kind: branch, upstream: master, territories: [north], http: " +
           address() + ", admin: " + address() + "}\n";
  }
  tcp::endpoint endpoint() const { return {boost::asio::ip::address_v4::loopback(), port}; }
};

RealMaster& master() {
  static RealMaster m;
  return m;
}

class CreateAccount : public Command {
 public:
  explicit CreateAccount(TerritoryId territory) : territory_(territory) {}
  Result<Draft> prepare(Workspace& view, RecordIdMaker& ids_of, int64_t now) override {
    Draft draft;
    RecordOp& op = draft.ops.emplace_back();
    op.kind = RecordOpKind::create;
    op.record = {entity_id::kAccount, ids_of.make(now)};
    op.territory = territory_;
    FieldId name = view.schema().entity(entity_id::kAccount)->field("name")->id;
    op.cells.push_back({name, CellOpKind::set, {ValueType::text, "Acme"}, {}});
    return draft;
  }

 private:
  TerritoryId territory_;
};

// A branch's cores without its program: its replica in memory, its session over a real link.
struct Branch {
  World& world;
  std::string name;
  std::shared_ptr<const LinkContext> context;
  SystemClock clock;
  SystemRandom random;
  MemStore store;
  std::unique_ptr<Replica> replica;
  std::unique_ptr<ReplicaOutbox> outbox;
  std::unique_ptr<Link> link;
  StreamCompressor compressor;
  Registration registration;
  uint64_t writes = 0;

  Branch(World& w, std::string server, std::shared_ptr<const LinkContext> c)
      : world(w), name(std::move(server)), context(std::move(c)) {
    Batch rows;
    auto opened = Replica::open(store, Schema::built_in(), clock, random, rows);
    BL_CHECK(opened);
    replica = std::move(*opened);
    BL_CHECK(store.write(rows, Sync::yes));
  }
  Introduction introduction() { return replica->introduction(name, master().digest); }

  void dial() {
    LinkResult dialled =
        world.wait(tls_dial(world.io, "127.0.0.1", master().port, context, "master", {}));
    REQUIRE(dialled);
    link = std::move(*dialled);
  }
  void send(FrameType type, const std::string& payload) { send_raw(encode_frame(type, payload)); }
  void send_raw(const std::string& bytes) { REQUIRE(link->send(bytes)); }
  void greet(const Introduction& intro) {
    dial();
    send(FrameType::hello, encode_hello(intro, clock.wall_ms()));
  }
  // Greets honestly and waits for the welcome.
  void enter() {
    greet(introduction());
    auto frames = world.wait(link->read());
    REQUIRE(frames);
    auto welcome = decode_welcome(frames->at(0).payload);
    REQUIRE(welcome);
    registration = welcome->registration;
  }
  // The code with which the master refuses, or how the link ended without a word.
  std::string refusal() {
    for (;;) {
      auto frames = world.wait(link->read());
      if (!frames) return "link: " + frames.error().code;
      for (const auto& f : *frames) {
        if (f.type == FrameType::refused) return decode_refused(f.payload).code;
      }
    }
  }
  // A block of one mutation, a little wrong.
  std::string block(const std::function<void(Mutation&)>& wrong) {
    Mutation m;
    m.id = {registration.origin, introduction().incarnations.back().incarnation, Lane::interactive,
            Seq(1)};
    m.order = Order(1);
    m.line = registration.head.line;
    m.schema_version = 1;
    RecordOp& op = m.ops.emplace_back();
    op.kind = RecordOpKind::remove;
    op.record = {entity_id::kAccount, RecordId::from_bytes("sixteen bytes id")};
    wrong(m);
    MutationBlockWriter writer;
    writer.add(m, 0);
    return compressor.compress(writer.finish({}));
  }

  // One honest conversation: joins where it has to, ships a new mutation and waits for its fate.
  void exchange() {
    if (replica->state().joined()) write();
    dial();
    outbox = std::make_unique<ReplicaOutbox>(store, replica->state().side);
    BranchSession session(*outbox, clock.steady_us());
    perform(session, session.start(introduction(), clock.wall_ms()));
    while (!(session.state() == LinkState::following && replica->state().joined() &&
             replica->state().ledger.pending == 0)) {
      auto frames = world.wait(link->read());
      REQUIRE(frames);
      for (const auto& f : *frames) {
        perform(session, session.on_frame(f, clock.steady_us(), clock.wall_ms()));
      }
    }
    link->close();
  }
  void write() {
    CreateAccount command(replica->state().territories.at(0));
    auto group = replica->accept({&command});
    REQUIRE(group);
    REQUIRE(group->results.at(0));
    REQUIRE(store.write(group->batch, Sync::yes));
    ++writes;
  }
  void perform(BranchSession& session, BranchEffects e) {
    auto put = [&](const Batch& b, Sync s) { return store.write(b, s); };
    if (e.welcome) {
      auto rows = replica->welcome(*e.welcome);
      REQUIRE(rows);
      REQUIRE(put(*rows, Sync::no));
    }
    if (e.begin_join) REQUIRE(replica->begin_seed(*e.begin_join, put));
    for (const auto& c : e.chunks) REQUIRE(replica->seed_chunk(c, put));
    if (e.end_join) {
      auto done = replica->end_seed(*e.end_join, put);
      REQUIRE(done);
      REQUIRE(put(done->batch, Sync::yes));
      *outbox = ReplicaOutbox(store, replica->state().side);
      perform(session, session.on_outbox());
    }
    for (const auto& range : e.ranges) {
      auto applied = replica->apply(range);
      REQUIRE(applied);
      REQUIRE(put(applied->batch, Sync::no));
    }
    for (auto& f : e.frames) REQUIRE(link->send(std::move(f)));
    INFO((e.close ? e.close->message : ""));
    REQUIRE_FALSE(e.close);
  }
};

// A good branch beside whatever a case does; at its end all its work has its fate.
struct Company {
  World world;
  Branch good{world, "bremen", ids().make("bremen")};
  Branch bad{world, "hamburg", ids().hamburg};

  Company() {
    (void)master();
    good.exchange();
  }
  ~Company() noexcept(false) {
    if (std::uncaught_exceptions() > 0) return;
    good.exchange();
    const Ledger& ledger = good.replica->state().ledger;
    CHECK(good.writes > 0);
    CHECK(ledger.accepted == good.writes);
    CHECK(ledger.pending == 0);
    CHECK(ledger.balances());
    CHECK(master().child->running());
  }
};

}  // namespace

TEST_CASE("a real master refuses frames that no branch should send, by name", "[bad_frames]") {
  Company c;
  auto after_welcome = [&](const std::string& bytes) {
    c.bad.enter();
    c.bad.send_raw(bytes);
    return c.bad.refusal();
  };
  auto mutation = [&](const std::function<void(Mutation&)>& wrong) {
    c.bad.enter();
    c.bad.send(FrameType::mutations, c.bad.block(wrong));
    return c.bad.refusal();
  };
  // Where frames cannot be cut any more the link just ends; the operator finds the reason in the
  // log.
  auto cut_off = [&](const std::string& bytes, const std::string& reason) {
    CHECK(after_welcome(bytes) == "link: link.ended");
    wan_test::eventually("the log says: " + reason, [&] {
      return master().child->output().find("link of hamburg ended: " + reason) != std::string::npos;
    });
  };
  SECTION("of unknown type") { cut_off(std::string("\x02\x63x", 3), "a frame of unknown type 99"); }
  SECTION("that are too long") {
    std::string length;
    Writer(length).varint(limits::kMaxFrameBytes + 1);
    cut_off(length, "a frame of " + std::to_string(limits::kMaxFrameBytes + 1) + " bytes");
  }
  SECTION("without length") { cut_off(std::string(1, '\0'), "a frame of 0 bytes"); }
  SECTION("with an endless length") {
    cut_off(std::string(10, '\xff'), "a frame's length is malformed");
  }
  SECTION("that are a master's") {
    CHECK(after_welcome(encode_frame(FrameType::feed, "x")) == "session.unexpected");
  }
  SECTION("of garbage: mutations") {
    CHECK(after_welcome(encode_frame(FrameType::mutations, "\xff\xff garbage")) ==
          "block.compression");
  }
  SECTION("of garbage: a block") {
    c.bad.enter();
    c.bad.send(FrameType::mutations, c.bad.compressor.compress("garbage where a block should be"));
    CHECK_THAT(c.bad.refusal(), Contains("block"));
  }
  SECTION("of garbage: a heartbeat") {
    CHECK(after_welcome(encode_frame(FrameType::heartbeat, "\xff\xff\xff")) == "message.malformed");
  }
  SECTION("that bomb") {
    // Small on the wire, larger than any block when it is unpacked.
    c.bad.enter();
    c.bad.send(FrameType::mutations,
               c.bad.compressor.compress(std::string(3 * limits::kMaxBlockBytes, 'x')));
    CHECK_THAT(c.bad.refusal(), Contains("block"));
  }
  SECTION("beyond what was sent") {
    CHECK(after_welcome(encode_frame(FrameType::progress, encode_progress({Csn(1'000'000), 0}))) ==
          "session.progress");
  }
  SECTION("with a gap") {
    CHECK(mutation([](Mutation& m) { m.id.seq = Seq(2); }) == "stream.gap");
  }
  SECTION("of another start") {
    CHECK(mutation([](Mutation& m) { m.id.incarnation = Incarnation(4711); }) ==
          "stream.unknown_incarnation");
  }
  SECTION("of another server") {
    CHECK(mutation([](Mutation& m) { m.id.origin = OriginId(m.id.origin.value + 1); }) ==
          "stream.foreign");
  }
  SECTION("a second greeting") {
    CHECK(after_welcome(encode_frame(FrameType::hello, encode_hello(c.bad.introduction(), 0))) ==
          "session.unexpected");
  }
  SECTION("before the greeting") {
    c.bad.dial();
    c.bad.send(FrameType::heartbeat, encode_heartbeat({}));
    CHECK(c.bad.refusal() == "session.unexpected");
  }
  SECTION("cut off in the middle, and left so while a good branch works") {
    c.bad.enter();
    std::string frame = encode_frame(FrameType::mutations, c.bad.block([](Mutation&) {}));
    std::string longer;
    Writer(longer).varint(frame.size() + 100'000);
    c.bad.send_raw(longer + frame);
    Branch third(c.world, "hamburg", ids().hamburg);  // the same server, on a line of its own
    third.exchange();
    c.bad.link->close();
  }
}

TEST_CASE("a real master refuses greetings that do not fit, by name", "[bad_frames]") {
  Company c;
  Introduction intro = c.bad.introduction();
  auto refused = [&] {
    c.bad.greet(intro);
    return c.bad.refusal();
  };
  SECTION("another's name") {
    intro.server = "bremen";
    CHECK(refused() == "session.name");
  }
  SECTION("a name that is not in the topology") {
    Branch stranger(c.world, "stranger", ids().make("stranger"));
    stranger.greet(stranger.introduction());
    CHECK(stranger.refusal() == "session.unknown");
  }
  SECTION("another topology") {
    intro.topology_digest = "other";
    CHECK(refused() == "session.topology");
  }
  SECTION("another schema") {
    intro.schema_version += 1;
    CHECK(refused() == "session.schema");
  }
  SECTION("another line") {
    intro.cursor = {LineId(7), Csn(1), {}};
    CHECK(refused() == "session.line_replaced");
  }
  SECTION("ahead of the line, or off it") {
    c.good.exchange();
    intro.cursor = c.good.replica->state().cursor;
    intro.cursor.chain.bytes[0] ^= 1;
    CHECK(refused() == "session.off_line");
    intro.cursor.csn = Csn(intro.cursor.csn.value + 1'000'000);
    CHECK(refused() == "session.ahead");
  }
  SECTION("garbage") {
    c.bad.dial();
    c.bad.send(FrameType::hello, "\xff\xff\xff");
    CHECK(c.bad.refusal() == "message.malformed");
  }
}

// One that ran out is refused where the whole authority can be made three days ago:
// transport_test.cc.
TEST_CASE("a real master speaks only to certificates of its authority", "[bad_frames]") {
  Company c;
  auto raw = [&](SSL_CTX* context) {
    std::string reason;
    c.world.beside([&] {
      RawPeer peer(master().endpoint(), context);
      if (!peer.connect()) {
        reason = take_openssl_errors();
      } else {
        reason = peer.read_end();
      }
    });
    return reason;
  };
  SECTION("none") {
    SslCtxPtr nobody(SSL_CTX_new(TLS_method()));
    CHECK_THAT(raw(nobody.get()), Contains("certificate required"));
  }
  SECTION("another authority's") {
    ids().make("intruder", "other-ca");
    CHECK_THAT(raw(ids().mixed("intruder", "ca")->native()), Contains("unknown ca"));
  }
  SECTION("an old protocol") {
    SslCtxPtr old(SSL_CTX_new(TLS_method()));
    SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
    CHECK_THAT(raw(old.get()), Contains("protocol version"));
  }
}

}  // namespace branchline
