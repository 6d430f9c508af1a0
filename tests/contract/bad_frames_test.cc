// What a master answers to branches that lie, stumble or are nobody: a refusal by name, each time,
// while it goes on serving a good branch and loses nothing of its work. And what a branch answers
// to such a master. Both learn why, in their logs and states. The real programs, over TLS.
#include <exception>
#include <fstream>

#include "branch/replica/replica.h"
#include "common/base/limits.h"
#include "common/config/topology.h"
#include "common/store/mem_store.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "replication/session/branch_session.h"
#include "replication/session/lookup.h"
#include "tests/contract/wan_fixture.h"
#include "tests/support/link_world.h"

namespace branchline {
namespace {

using namespace link_test;
using Catch::Contains;

std::string address(uint16_t port) { return "\"127.0.0.1:" + std::to_string(port) + "\""; }
std::string topology_head(uint16_t link, uint16_t admin) {
  return "version: 1\nname: small\nsites:\n  - {name: here, place: Here}\nterritories: [north]\n"
         "servers:\n  - {name: master, site: here, kind: master, link: " +
         address(link) + ", admin: " + address(admin) + "}\n";
}
std::string branch(const std::string& name, uint16_t http, uint16_t admin) {
  return "  - {name: " + name +
         ", site: here, kind: branch, upstream: master, territories: [north], http: " +
         address(http) + ", admin: " + address(admin) + "}\n";
}

std::string operator_token(const std::string& data) {
  std::string token;
  wan_test::eventually("the operator's token", [&] {
    return static_cast<bool>(std::getline(std::ifstream(data + "/operator.token"), token));
  });
  return token;
}
boost::json::object status_of(uint16_t admin, const std::string& data) {
  wan_test::HttpAnswer a =
      wan_test::http_raw(admin, "GET /admin/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " +
                                    operator_token(data) + "\r\nConnection: close\r\n\r\n");
  BL_CHECK(a.status == 200);
  return a.body;
}
std::string text_in(const boost::json::object& o, std::string_view name) {
  const boost::json::value* v = o.if_contains(name);
  return v ? std::string(v->as_string()) : std::string();
}

// branchline-master on ports of its own, started once: each case is another connection to it.
struct RealMaster {
  TempFolder folder;
  uint16_t port = wan_test::free_port(), admin = wan_test::free_port();
  std::string path = folder / "topology.yaml";
  std::string digest;
  std::optional<wan_test::Child> child;

  RealMaster() {
    std::ofstream(path) << topology_head(port, admin)
                        << branch("hamburg", wan_test::free_port(), wan_test::free_port())
                        << branch("bremen", wan_test::free_port(), wan_test::free_port());
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
  tcp::endpoint endpoint() const { return {boost::asio::ip::address_v4::loopback(), port}; }

  // What the operators' interface says of hamburg's link: why it was closed, if it was.
  std::string refused() const {
    for (const auto& b : status_of(admin, folder / "data").at("branches").as_array()) {
      if (b.at("server").as_string() == "hamburg") return text_in(b.as_object(), "refused");
    }
    return "no hamburg";
  }
  // What an operator sees of it.
  std::string shown_status() const {
    wan_test::Child command({std::string(BRANCHLINE_BIN_DIR) + "/branchline", "status",
                             "--topology", path, "--token", operator_token(folder / "data")});
    (void)command.wait();  // no branch runs
    return command.output();
  }
  // An operator does not wait for those who will not come.
  void close_reconciling() const {
    wan_test::Child command({std::string(BRANCHLINE_BIN_DIR) + "/branchline", "reconcile",
                             "--topology", path, "--token", operator_token(folder / "data"),
                             "--close"});
    int code = command.wait();
    INFO(command.output());
    REQUIRE(code == 0);
  }
  size_t said(const std::string& text) const {
    std::string log = child->output();
    size_t n = 0;
    for (size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++n;
    return n;
  }
};

RealMaster& master() {
  static RealMaster m;
  return m;
}

// Why the other end says that it closes; where it says nothing, how the link ended, as
// "link: link.broken".
Error last_word(World& world, Link& link) {
  for (;;) {
    auto frames = world.wait(link.read());
    if (!frames) return {frames.error().kind, "link: " + frames.error().code, ""};
    for (const auto& f : *frames) {
      if (f.type == FrameType::refused) return decode_refused(f.payload);
    }
  }
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
  bool again = false;  // it is to greet again

  Branch(World& w, std::string server, std::shared_ptr<const LinkContext> c)
      : world(w), name(std::move(server)), context(std::move(c)) {
    Batch rows;
    auto opened = Replica::open(store, Schema::built_in(), clock, random, rows);
    BL_CHECK(opened);
    replica = std::move(*opened);
    BL_CHECK(store.write(rows, Sync::yes));
  }
  Introduction introduction() { return replica->introduction(name, master().digest).value(); }

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
  // While the other is connected it is taken for a copy of it (SEMANTICS 30).
  void enter_as_copy() {
    greet(introduction());
    CHECK(refusal() == "session.copy");
  }
  Error refused() { return last_word(world, *link); }
  // The code with which the master refuses, or how the link ended without a word.
  std::string refusal() { return refused().code; }
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
    while (!converse()) {
    }
  }
  // Whether it came to its end; else it greets again.
  bool converse() {
    dial();
    outbox = std::make_unique<ReplicaOutbox>(store, replica->state().side);
    BranchSession session(*outbox, clock.steady_us());
    session.set_offered_again(replica->history().offered_again);
    again = false;
    perform(session, session.start(introduction(), clock.wall_ms()));
    while (!again && !(session.state() == LinkState::following && replica->state().joined() &&
                       replica->state().ledger.pending == 0)) {
      auto frames = world.wait(link->read());
      INFO((frames ? "" : frames.error().message) << "; " << to_string(session.state()) << ", "
                                                  << replica->state().ledger.pending << " pending");
      REQUIRE(frames);
      for (const auto& f : *frames) {
        if (!again) perform(session, session.on_frame(f, clock.steady_us(), clock.wall_ms()));
      }
    }
    link->close();
    return !again;
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
      perform(session, session.on_joined(replica->state().cursor.csn));
    }
    for (const auto& range : e.ranges) {
      auto applied = replica->apply(range);
      REQUIRE(applied);
      REQUIRE(put(applied->batch, Sync::no));
    }
    for (auto& f : e.frames) REQUIRE(link->send(std::move(f)));
    // Somebody was ahead of the line, or off it: it goes on as another.
    bool replaced = e.close && e.close->code == "session.line_replaced";
    if (replaced) REQUIRE(replica->leave_line(put));
    again = again || replaced || (e.close && e.close->code == "session.greets_again");
    if (again) return;
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
  // Frames cannot be cut any more: branch, log and operators learn why.
  auto cut_off = [&](const std::string& bytes, const std::string& code, std::string reason) {
    reason = "'hamburg' sent " + reason;
    c.bad.enter();
    c.bad.send_raw(bytes);
    Error why = c.bad.refused();
    CHECK(why.code == code);
    CHECK_THAT(why.message, Contains(reason));
    CHECK(why.kind == ErrorKind::unavailable);  // it may try again
    CHECK(c.bad.refusal() == "link: link.ended");
    CHECK(master().said("closing the link of hamburg: " + reason) == 1);
    CHECK_THAT(master().refused(), Contains(reason));
    CHECK_THAT(master().shown_status(), Contains("! the link of hamburg was closed: " + reason));
  };
  SECTION("of unknown type") {
    cut_off(std::string("\x02\x63x", 3), "frame.unknown", "a frame of unknown type 99");
  }
  SECTION("that are too long") {
    std::string length;
    Writer(length).varint(limits::kMaxFrameBytes + 1);
    cut_off(length, "frame.too_large",
            "a frame of " + std::to_string(limits::kMaxFrameBytes + 1) + " bytes");
  }
  SECTION("without length") { cut_off(std::string(1, '\0'), "frame.empty", "a frame of no bytes"); }
  SECTION("with an endless length") {
    cut_off(std::string(10, '\xff'), "frame.too_large", "a frame whose length is malformed");
  }
  SECTION("that are a master's") {
    CHECK(after_welcome(encode_frame(FrameType::feed, "x")) == "session.unexpected");
  }
  SECTION("that are a master's answers") {
    CHECK(after_welcome(encode_frame(FrameType::lookup_answer, "x")) == "session.unexpected");
  }
  SECTION("of garbage: a look-up") {
    CHECK(after_welcome(encode_frame(FrameType::lookup, "\xff\xff garbage")) ==
          "message.malformed");
  }
  SECTION("that ask for more at a time than the master takes, or twice") {
    LookupRequest q;
    q.token = "nobody's";
    q.entity = EntityId(1);
    q.id.bytes[0] = 1;
    q.number = 1;
    std::string one = encode_frame(FrameType::lookup, encode_lookup_request(q));
    CHECK(after_welcome(one + one) == "lookup.number");
    std::string many;
    for (q.number = 1; q.number <= limits::kMaxLookupsUnderWay + 1; ++q.number)
      many += encode_frame(FrameType::lookup, encode_lookup_request(q));
    CHECK(after_welcome(many) == "lookup.too_many");
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
    third.enter_as_copy();
    c.good.exchange();
    c.bad.link->close();
  }
}

TEST_CASE("a real master tells a line that broke from a branch that lies", "[bad_frames]") {
  Company c;
  auto closed = [&] { return master().said("closing the link of hamburg: "); };
  size_t closed_before = closed(), ended_before = 0;
  std::string ended;
  auto expect = [&](const std::string& how) {
    c.bad.enter();  // so that nothing is known of earlier refusals
    ended = "link of hamburg ended: " + how;
    ended_before = master().said(ended);
  };
  SECTION("gone, in the middle of a frame") {
    expect("the connection is lost: ");
    c.bad.send_raw(std::string("\x20\x05half", 6));
    c.world.until([&] { return c.bad.link->queued_bytes() == 0; });
    c.bad.link.reset();
  }
  SECTION("closed") {
    expect("the peer has closed the link");
    c.bad.link->close();
    c.world.wait(c.bad.link->closed());
  }
  SECTION("damaged") {
    expect("the TLS stream is damaged: ");
    std::string answer, reason;
    c.world.beside([&] {
      RawPeer raw(master().endpoint(), ids().hamburg->native());
      BL_CHECK(raw.connect());
      raw.write_wire(std::string(64, 'G'));
      reason = raw.read_end(&answer);
    });
    CHECK(answer.empty());
    CHECK_THAT(reason, Contains("alert"));
  }
  wan_test::eventually("the log says how", [&] { return master().said(ended) > ended_before; });
  CHECK(closed() == closed_before);
  CHECK(master().refused().empty());
}

TEST_CASE("a real master's operators learn why a branch closed its link", "[bad_frames]") {
  Company c;
  std::string why = "'master' sent a frame of unknown type 98";
  c.bad.enter();
  c.bad.send(FrameType::refused, encode_refused({ErrorKind::invalid, "frame.unknown", why}));
  CHECK(c.bad.refusal() == "link: link.ended");  // a last word is not answered
  CHECK(master().said("hamburg closes its link: " + why) == 1);
  CHECK(master().refused() == why);
  // Until it is there again.
  c.bad.enter();
  CHECK(master().refused().empty());
}

namespace {

// branchline-branch, whose master is the test.
struct RealBranch {
  World world;
  TempFolder folder;
  uint16_t admin = wan_test::free_port();
  std::optional<wan_test::Child> child;
  std::unique_ptr<Link> link;

  RealBranch() {
    std::string path = folder / "topology.yaml";
    std::ofstream(path) << topology_head(world.acceptor->port(), wan_test::free_port())
                        << branch("hamburg", wan_test::free_port(), admin);
    child.emplace(std::vector<std::string>{std::string(BRANCHLINE_BIN_DIR) + "/branchline-branch",
                                           "--topology", path, "--server", "hamburg", "--data",
                                           folder / "data", "--tls", ids().folder / "hamburg"});
  }
  // Its next greeting. While nobody waits for the one after, it stays without an answer.
  void greeted() {
    LinkResult accepted = world.wait(world.acceptor->accept());
    REQUIRE(accepted);
    link = std::move(*accepted);
    auto frames = world.wait(link->read());
    REQUIRE(frames);
    CHECK(frames->at(0).type == FrameType::hello);
  }
  void send(FrameType type, const std::string& payload) {
    REQUIRE(link->send(encode_frame(type, payload)));
  }
  void welcome() {
    Registration r;
    r.origin = OriginId(2);
    r.head = {LineId(7), Csn(5), {}};
    r.territories = {TerritoryId(1)};
    r.join = true;
    send(FrameType::welcome, encode_welcome(r, SystemClock().wall_ms()));
  }
  // Both ends of a refusal by the branch.
  void refuses(const std::string& code, const std::string& reason) {
    Error why = last_word(world, *link);
    CHECK(why.code == code);
    CHECK_THAT(why.message, Contains(reason));
    CHECK(last_word(world, *link).code == "link: link.ended");
    knows(code, reason);
  }
  void knows(const std::string& code, const std::string& reason) {
    if (link) world.wait(link->closed());
    wan_test::eventually("the log says " + reason, [&] {
      return child->output().find("link to master is down: " + reason) != std::string::npos;
    });
    boost::json::object status = status_of(admin, folder / "data");
    CHECK(text_in(status.at("link").as_object(), "problemCode") == code);
    CHECK_THAT(text_in(status.at("link").as_object(), "problem"), Contains(reason));
    CHECK(child->running());
  }
};

}  // namespace

TEST_CASE("a real branch tells a master that lies why it closes, and its operators",
          "[bad_frames]") {
  RealBranch b;
  b.greeted();
  SECTION("a frame of unknown type, before the welcome") {
    REQUIRE(b.link->send(std::string("\x02\x63x", 3)));
    b.refuses("frame.unknown", "'master' sent a frame of unknown type 99");
    // It comes again; the work of its office waits for a master that makes sense.
    b.greeted();
  }
  SECTION("a frame that is too long, while it joins") {
    std::string length;
    Writer(length).varint(limits::kMaxFrameBytes + 1);
    b.welcome();
    REQUIRE(b.link->send(length));
    b.refuses("frame.too_large",
              "'master' sent a frame of " + std::to_string(limits::kMaxFrameBytes + 1) + " bytes");
  }
  SECTION("a frame with an endless length") {
    REQUIRE(b.link->send(std::string(10, '\xff')));
    b.refuses("frame.too_large", "'master' sent a frame whose length is malformed");
  }
  SECTION("a frame out of order") {
    b.send(FrameType::feed, "x");
    b.refuses("session.unexpected", "a feed frame while greeting");
  }
  SECTION("a part of a snapshot at a wrong place") {
    b.welcome();
    b.send(FrameType::snapshot_head, encode_snapshot_head({{LineId(7), Csn(5), {}}, 10}));
    b.send(FrameType::snapshot_chunk, "\x01garbage");
    b.refuses("snapshot.order", "");
  }
  SECTION("or learns from it what it sent itself") {
    std::string why = "'hamburg' sent a frame of unknown type 97";
    b.send(FrameType::refused, encode_refused({ErrorKind::invalid, "frame.unknown", why}));
    CHECK(last_word(b.world, *b.link).code == "link: link.ended");
    b.knows("frame.unknown", why);
  }
  SECTION("a line that broke is no lie") {
    b.link.reset();
    b.knows("link.broken", "the connection is lost: ");
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
  SECTION("another schema") {
    intro.schema_version += 1;
    CHECK(refused() == "session.schema");
  }
  SECTION("another line") {
    intro.cursor = {LineId(7), Csn(1), {}};
    CHECK(refused() == "session.other_line");
  }
  SECTION("ahead of the line, or off it") {
    c.good.exchange();
    intro.cursor = c.good.replica->state().cursor;
    intro.cursor.chain.bytes[0] ^= 1;
    // A master cannot tell who lies from being restored behind its branches (SEMANTICS 29).
    CHECK(refused() == "session.line_replaced");
    master().close_reconciling();
    c.good.exchange();
    intro.cursor = c.good.replica->state().cursor;
    intro.cursor.csn = Csn(intro.cursor.csn.value + 1'000'000);
    CHECK(refused() == "session.line_replaced");
    master().close_reconciling();
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
