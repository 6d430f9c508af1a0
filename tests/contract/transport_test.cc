// The contract of Link, over loopback with real TLS.
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>

#include "common/base/bytes.h"
#include "tests/support/link_world.h"

using namespace branchline;
using namespace branchline::link_test;
using Catch::Matchers::Contains;
using std::chrono::milliseconds;

TEST_CASE("frames go both ways, up to the largest") {
  World world;
  Ends ends = connect(world);
  CHECK(ends.branch->peer() == "master");
  CHECK(ends.master->peer() == "hamburg");

  std::vector<size_t> sizes{
      0, 1, 100, 16 * 1024, 64 * 1024, 64 * 1024 - 6, 300'000, limits::kMaxFrameBytes - 1};
  uint64_t bytes = 0;
  for (auto [from, to] :
       {std::pair(ends.branch.get(), ends.master.get()), {ends.master.get(), ends.branch.get()}}) {
    bytes = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      std::string frame =
          encode_frame(FrameType::feed, payload(sizes[i], static_cast<char>('a' + i)));
      bytes += frame.size();
      REQUIRE(from->send(std::move(frame)));
    }
    CHECK(from->queued_bytes() == bytes);
    std::vector<Frame> frames = read_frames(world, *to, sizes.size());
    REQUIRE(frames.size() == sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
      CHECK(frames[i].type == FrameType::feed);
      CHECK((frames[i].payload == payload(sizes[i], static_cast<char>('a' + i))));
    }
    world.until([&, link = from] { return link->queued_bytes() == 0; });
  }
  LinkCounters branch = ends.branch->counters(), master = ends.master->counters();
  CHECK(branch.frames_out == sizes.size());
  CHECK(master.frames_in == sizes.size());
  CHECK(branch.payload_bytes_out == bytes);
  CHECK(master.payload_bytes_in == bytes);
  CHECK(branch.bytes_out == master.bytes_in);
  CHECK(branch.bytes_in == master.bytes_out);
  CHECK(branch.bytes_out > bytes);
  CHECK(branch.bytes_out < bytes + bytes / 100 + 4096);
}

TEST_CASE("what is sent in one turn shares records") {
  World world;
  Ends ends = connect(world);
  uint64_t before = ends.branch->counters().bytes_out;
  uint64_t bytes = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string frame = encode_frame(FrameType::ack, "0123456789");
    bytes += frame.size();
    REQUIRE(ends.branch->send(std::move(frame)));
  }
  read_frames(world, *ends.master, 1000);
  // 12 kB are one record of 22 bytes more; a record for each frame would be 22 kB more.
  CHECK(ends.branch->counters().bytes_out - before == bytes + 22);
}

TEST_CASE("a frame that is too large ends the link") {
  World world;
  SECTION("it is not sent") {
    Ends ends = connect(world);
    auto sent = ends.branch->send(std::string(limits::kMaxFrameBytes + 5, 'x'));
    REQUIRE_FALSE(sent);
    CHECK(sent.error().code == "frame.too_large");
    CHECK(ends.branch->send(encode_frame(FrameType::ack, "")));
  }
  SECTION("it is not taken, however large it says it is") {
    std::string beyond;
    Writer(beyond).varint(limits::kMaxFrameBytes + 1);
    for (const std::string& header : {beyond + '\x07', std::string(11, '\xFF')}) {
      std::string reason, answer;
      std::thread peer([&] {
        RawPeer raw(world.endpoint(), ids().hamburg->native());
        BL_CHECK(raw.connect() && raw.write(encode_frame(FrameType::ack, "good") + header));
        reason = raw.read_end(&answer);
      });
      LinkResult link = world.wait(world.acceptor->accept());
      REQUIRE(link);
      std::vector<Frame> first = read_frames(world, **link, 1);
      CHECK(first[0].payload == "good");  // what came before it counts
      Error end = read_end(world, **link);
      CHECK(end.kind == ErrorKind::invalid);
      CHECK(end.code == "frame.too_large");
      CHECK_THAT(end.message, Contains("'hamburg' sent a frame "));
      // The line itself holds: the peer is told why.
      std::string why = encode_frame(FrameType::refused, "why");
      CHECK((*link)->send(why));
      (*link)->close();
      auto sent = (*link)->send(encode_frame(FrameType::ack, ""));
      REQUIRE_FALSE(sent);
      CHECK(sent.error().code == "frame.too_large");
      CHECK(read_end(world, **link).code == "frame.too_large");
      world.wait((*link)->closed());
      peer.join();
      CHECK((answer == why));
      CHECK(reason == "goodbye");
    }
  }
  SECTION("nor one of a type that nobody knows") {
    Ends ends = connect(world);
    REQUIRE(ends.branch->send(std::string("\x01\x63", 2)));
    CHECK(read_end(world, *ends.master).code == "frame.unknown");
    REQUIRE(ends.master->send(encode_frame(FrameType::refused, "why")));
    ends.master->close();
    CHECK(read_frames(world, *ends.branch, 1)[0].payload == "why");
    CHECK(read_end(world, *ends.branch).code == "link.ended");
  }
  SECTION("and an owner who does not close it then cannot keep it") {
    Ends ends = connect(world, {.linger = milliseconds(100)});
    REQUIRE(ends.master->send(std::string("\x01\x63", 2)));
    CHECK(read_end(world, *ends.branch).code == "frame.unknown");
    world.wait(ends.branch->closed());
    CHECK(read_end(world, *ends.branch).code == "frame.unknown");
  }
}

TEST_CASE(
    "the last word does not wait behind a full queue, and can be cut from what is under way") {
  World world;
  Ends ends = connect(world, {.linger = std::chrono::seconds(30)});
  constexpr size_t kSize = 2'000'000;
  size_t queued = 0;
  while (ends.branch->send(encode_frame(FrameType::feed, payload(kSize, 'q')))) {
    ++queued;
    world.io.poll();  // some of it is on its way, a frame in its middle
  }
  REQUIRE(ends.master->send(std::string("\x01\x63", 2)));
  CHECK(read_end(world, *ends.branch).code == "frame.unknown");
  size_t left = ends.branch->queued_bytes();
  CHECK(left > limits::kLinkWriteBytes);  // the rest of a frame, beside what is being written
  CHECK(left < kSize + limits::kLinkWriteBytes);
  REQUIRE(ends.branch->send(encode_frame(FrameType::refused, "why")));
  ends.branch->close();
  size_t arrived = 0;
  for (bool told = false; !told;) {
    Frames frames = world.wait(ends.master->read());
    REQUIRE(frames);
    for (const Frame& f : *frames) {
      REQUIRE_FALSE(told);
      told = f.type == FrameType::refused;
      if (told) continue;
      REQUIRE((f.payload == payload(kSize, 'q')));
      ++arrived;
    }
  }
  CHECK(arrived < queued);
  CHECK(read_end(world, *ends.master).code == "link.ended");
  world.wait(ends.branch->closed());
  CHECK(ends.branch->queued_bytes() == 0);
}

TEST_CASE("a damaged line takes no last word") {
  World world;
  // Forged application data; what is no record of TLS at all.
  for (const std::string& wire :
       {std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'), std::string(64, 'G')}) {
    std::string reason, answer;
    std::thread peer([&] {
      RawPeer raw(world.endpoint(), ids().hamburg->native());
      BL_CHECK(raw.connect());
      raw.write_wire(wire);
      reason = raw.read_end(&answer);
    });
    LinkResult link = world.wait(world.acceptor->accept());
    REQUIRE(link);
    Error end = read_end(world, **link);
    CHECK(end.kind == ErrorKind::corrupt);
    CHECK(end.code == "tls.broken");
    auto sent = (*link)->send(encode_frame(FrameType::refused, "why"));
    REQUIRE_FALSE(sent);
    CHECK(sent.error().code == "tls.broken");
    world.wait((*link)->closed());
    peer.join();
    CHECK(answer.empty());
    CHECK_THAT(reason, Contains("alert"));
  }
}

TEST_CASE("who is no server of ours is refused, told why, and counted; others get in") {
  World world;
  auto refused = [&] { return world.acceptor->counters().refused; };
  SECTION("plain text") {
    tcp::socket socket = world.plain();
    boost::asio::write(socket,
                       boost::asio::buffer(std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n")));
    world.until([&] { return refused() == 1; });
    // The server hangs up on its own.
    world.until([&] { return world.acceptor->handshakes() == 0; });
  }
  SECTION("silence, then hanging up") {
    {
      tcp::socket socket = world.plain();
    }
    world.until([&] { return refused() == 1; });
  }
  SECTION("no certificate") {
    std::string reason;
    world.beside([&] {
      SslCtxPtr nobody(SSL_CTX_new(TLS_method()));
      RawPeer raw(world.endpoint(), nobody.get());
      BL_CHECK(raw.connect());  // TLS 1.3: the client is done before the server has looked
      reason = raw.read_end();
    });
    CHECK_THAT(reason, Contains("certificate required"));
    CHECK(refused() == 1);
  }
  SECTION("TLS 1.2") {
    bool connected = true;
    std::string reason;
    world.beside([&] {
      SslCtxPtr old(SSL_CTX_new(TLS_method()));
      SSL_CTX_use_certificate_file(old.get(), (ids().folder / "hamburg" / "server.pem").c_str(),
                                   SSL_FILETYPE_PEM);
      SSL_CTX_use_PrivateKey_file(old.get(), (ids().folder / "hamburg" / "server.key").c_str(),
                                  SSL_FILETYPE_PEM);
      SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
      RawPeer raw(world.endpoint(), old.get());
      connected = raw.connect();
      reason = take_openssl_errors();
    });
    CHECK_FALSE(connected);
    CHECK_THAT(reason, Contains("protocol version"));
    CHECK(refused() == 1);
  }
  SECTION("a certificate of another authority") {
    ids().make("stranger", "other-ca");
    LinkResult link = world.dial(ids().mixed("stranger", "ca"));
    REQUIRE(link);
    Error end = read_end(world, **link);
    CHECK(end.code == "tls.refused");
    CHECK_THAT(end.message, Contains("unknown ca"));
    world.until([&] { return refused() == 1; });
    // The reason is there also for a dialler that only sends at first, until the server has hung
    // up.
    link = world.dial(ids().mixed("stranger", "ca"));
    REQUIRE(link);
    Result<void> sent;
    auto send_more = [&] {
      if ((*link)->queued_bytes() == 0) sent = (*link)->send(encode_frame(FrameType::ack, ""));
      return !sent;
    };
    world.until(send_more);
    CHECK(sent.error().kind == ErrorKind::unavailable);
    CHECK(read_end(world, **link).code == "tls.refused");
  }
  SECTION("an expired certificate") {
    ids().expired("old");
    // The server trusts that authority, so that the date alone decides.
    World trusting({}, ids().mixed("master", "ca-then"));
    LinkResult link = trusting.dial(ids().mixed("old", "ca"));
    REQUIRE(link);
    Error end = read_end(trusting, **link);
    CHECK(end.code == "tls.refused");
    CHECK_THAT(end.message, Contains("expired"));
    trusting.until([&] { return trusting.acceptor->counters().refused == 1; });
    return;
  }
  LinkResult good = world.dial();
  REQUIRE(good);
  CHECK(world.wait(world.acceptor->accept()));
  CHECK(world.acceptor->counters().accepted == 1);
}

TEST_CASE("a dialler refuses a server that is not the one") {
  SECTION("of another name") {
    World world;
    LinkResult link = world.dial(ids().hamburg, "munich");
    REQUIRE_FALSE(link);
    CHECK(link.error().kind == ErrorKind::denied);
    CHECK(link.error().code == "tls.wrong_name");
    CHECK_THAT(link.error().message,
               Contains("127.0.0.1:") && Contains("'master'") && Contains("'munich'"));
    world.until([&] { return world.acceptor->counters().refused == 1; });
    CHECK(world.acceptor->counters().accepted == 0);
  }
  SECTION("of another authority") {
    World world({}, ids().make("stranger", "other-ca"));
    LinkResult link = world.dial(ids().hamburg, "stranger");
    REQUIRE_FALSE(link);
    CHECK(link.error().code == "tls.other_authority");
  }
  SECTION("expired") {
    World world({}, ids().expired("old"));
    LinkResult link = world.dial(ids().mixed("hamburg", "old"), "old");
    REQUIRE_FALSE(link);
    CHECK(link.error().code == "tls.expired");
    CHECK_THAT(link.error().message, Contains("branchline ca issue"));
  }
}

TEST_CASE("dialling ends: nobody there, no answer, a stop") {
  World world;
  boost::asio::io_context other;
  tcp::acceptor silent(other, kAnyPort);  // the kernel accepts, nobody answers
  LinkOptions quick{.handshake = milliseconds(200)};
  auto dial = [&](std::stop_token stop = {}) {
    return tls_dial(world.io, silent.local_endpoint(), ids().hamburg, "master", quick, stop);
  };
  SECTION("no answer") {
    LinkResult link = world.wait(dial());
    REQUIRE_FALSE(link);
    CHECK(link.error().kind == ErrorKind::unavailable);
    CHECK(link.error().code == "link.timeout");
  }
  SECTION("nobody there") {
    tcp::endpoint gone = silent.local_endpoint();
    silent.close();
    LinkResult link = world.wait(tls_dial(world.io, gone, ids().hamburg, "master", quick));
    REQUIRE_FALSE(link);
    CHECK(link.error().code == "link.unreachable");
  }
  SECTION("a stop, before and during") {
    quick.handshake = std::chrono::minutes(10);
    std::stop_source stop;
    std::optional<LinkResult> out;
    world.start(dial(stop.get_token()), [&](LinkResult r) { out = std::move(r); });
    world.io.poll();
    tcp::socket there = silent.accept();  // connected: it is shaking hands
    boost::asio::post(world.io, [&] { stop.request_stop(); });
    world.until([&] { return out.has_value(); });
    REQUIRE_FALSE(*out);
    CHECK(out->error().code == "link.closed");
    LinkResult again = world.wait(dial(stop.get_token()));
    REQUIRE_FALSE(again);
    CHECK(again.error().kind == ErrorKind::shutdown);
  }
  SECTION("by the name of the host") {
    LinkResult link = world.wait(tls_dial(world.io, std::string("localhost"),
                                          world.acceptor->port(), ids().hamburg, "master"));
    CHECK(link);
    link = world.wait(
        tls_dial(world.io, std::string("no-such-host.invalid"), 1, ids().hamburg, "master"));
    REQUIRE_FALSE(link);
    CHECK(link.error().code == "link.unknown_host");
  }
}

TEST_CASE("a peer that stops reading fills a bounded queue, and nothing else") {
  World world;
  LinkOptions options{.max_queued_bytes = limits::kMaxFrameBytes + 1'000'000};
  Ends ends = connect(world, options);
  // Past all that the kernel holds between the two.
  size_t sent = 0;
  std::optional<Error> full;
  while (!full && sent < 1000) {
    auto taken = ends.branch->send(
        encode_frame(FrameType::feed, payload(256 * 1024, static_cast<char>(sent))));
    if (taken) {
      ++sent;
    } else {
      full = taken.error();
    }
    world.io.poll();
  }
  REQUIRE(full);
  CHECK(full->kind == ErrorKind::exhausted);
  CHECK(full->code == "link.queue_full");
  CHECK_THAT(full->message, Contains("'master'"));
  CHECK(ends.branch->queued_bytes() <= options.max_queued_bytes);
  CHECK(ends.branch->queued_bytes() > options.max_queued_bytes - 257 * 1024);
  CHECK(ends.master->counters().payload_bytes_in == 0);  // nobody asked
  // The frame refused is lost, those taken are not, and the link goes on.
  std::vector<Frame> frames = read_frames(world, *ends.master, sent);
  for (size_t i = 0; i < sent; ++i)
    REQUIRE((frames[i].payload == payload(256 * 1024, static_cast<char>(i))));
  world.until([&] { return ends.branch->queued_bytes() == 0; });
  CHECK(ends.branch->send(encode_frame(FrameType::ack, "")));
}

TEST_CASE("a peer whose window stays shut is given up by the kernel") {
  World world;
  LinkOptions options{.unacknowledged = milliseconds(300)};
  Ends ends = connect(world, options);
  while (ends.branch->send(encode_frame(FrameType::feed, payload(256 * 1024, 'x'))))
    world.io.poll();
  CHECK(read_end(world, *ends.branch).code == "link.broken");
  CHECK(ends.branch->queued_bytes() == 0);
}

TEST_CASE("an orderly close delivers what is queued") {
  World world;
  Ends ends = connect(world);
  std::string large = payload(limits::kMaxFrameBytes - 1, 'l');
  SECTION("from one end") {
    REQUIRE(ends.master->send(encode_frame(FrameType::feed, large)));
    REQUIRE(ends.master->send(encode_frame(FrameType::refused, "bye")));
    ends.master->close();
    ends.master->close();
    auto late = ends.master->send(encode_frame(FrameType::ack, ""));
    REQUIRE_FALSE(late);
    CHECK(late.error().code == "link.closed");
    SECTION("also when the link's owner has let go of it") { ends.master.reset(); }
    std::vector<Frame> frames = read_frames(world, *ends.branch, 2);
    CHECK((frames[0].payload == large));
    CHECK(frames[1].payload == "bye");
    Error end = read_end(world, *ends.branch);
    CHECK(end.kind == ErrorKind::unavailable);
    CHECK(end.code == "link.ended");
    world.wait(ends.branch->closed());
    if (ends.master) world.wait(ends.master->closed());
    CHECK(read_end(world, *ends.branch).code == "link.ended");  // and so it stays
  }
  SECTION("a read under way returns at once") {
    std::optional<Frames> end;
    world.start(ends.branch->read(), [&](Frames r) { end = std::move(r); });
    world.io.poll();
    REQUIRE_FALSE(end);
    ends.branch->close();
    world.io.poll();
    REQUIRE(end);
    REQUIRE_FALSE(*end);
    CHECK(end->error().code == "link.closed");
    CHECK(end->error().kind == ErrorKind::shutdown);
  }
}

TEST_CASE("two ends that close at once with full queues do not wait for each other") {
  LinkOptions patient{.linger = std::chrono::seconds(20)};
  World world({.link = patient});
  Ends ends = connect(world, patient);
  std::string frame = encode_frame(FrameType::feed, payload(limits::kMaxFrameBytes - 1, 'l'));
  REQUIRE(ends.master->send(frame));
  REQUIRE(ends.branch->send(frame));
  ends.master->close();
  ends.branch->close();
  auto start = steady_clock::now();
  world.wait(ends.branch->closed());
  world.wait(ends.master->closed());
  CHECK(steady_clock::now() - start < patient.linger / 2);
  CHECK(ends.branch->queued_bytes() == 0);
  CHECK(ends.branch->counters().payload_bytes_out == frame.size());
}

TEST_CASE("a close does not wait for ever for a peer that does not read") {
  World world;
  Ends ends = connect(world, {.linger = milliseconds(100)});
  while (ends.branch->send(encode_frame(FrameType::feed, payload(256 * 1024, 'x'))))
    world.io.poll();
  ends.branch->close();
  world.wait(ends.branch->closed());
  CHECK(read_end(world, *ends.branch).code == "link.closed");
}

TEST_CASE("an abrupt end is told from an orderly one") {
  World world;
  Ends ends = connect(world);
  REQUIRE(ends.master->send(encode_frame(FrameType::ack, "arrives")));
  world.until([&] { return ends.master->queued_bytes() == 0; });
  ends.master.reset();
  std::vector<Frame> frames = read_frames(world, *ends.branch, 1);
  CHECK(frames[0].payload == "arrives");
  Error end = read_end(world, *ends.branch);
  CHECK(end.kind == ErrorKind::unavailable);
  CHECK(end.code == "link.broken");
  auto sent = ends.branch->send(encode_frame(FrameType::ack, ""));
  REQUIRE_FALSE(sent);
  CHECK(sent.error().code == "link.broken");
  world.wait(ends.branch->closed());
}

TEST_CASE("a link may go while somebody reads it") {
  World world;
  Ends ends = connect(world);
  std::optional<Frames> end;
  world.start(ends.branch->read(), [&](Frames r) { end = std::move(r); });
  world.io.poll();
  ends.branch.reset();
  world.until([&] { return end.has_value(); });
  CHECK_FALSE(*end);
  CHECK(read_end(world, *ends.master).code == "link.broken");
}

TEST_CASE("a hundred servers shake hands at once") {
  for (size_t places : {size_t{64}, size_t{4}}) {
    World world({.max_handshakes = places});
    std::vector<std::unique_ptr<Link>> dialled, accepted;
    size_t most = 0;
    for (int i = 0; i < 100; ++i) {
      world.start(tls_dial(world.io, world.endpoint(), ids().hamburg, "master"),
                  [&](LinkResult link) {
                    REQUIRE(link);
                    dialled.push_back(std::move(*link));
                  });
    }
    auto accept_all = [&]() -> awaitable<void> {
      while (accepted.size() < 100) {
        LinkResult link = co_await world.acceptor->accept();
        BL_CHECK(link.has_value());
        most = std::max(most, world.acceptor->handshakes());
        accepted.push_back(std::move(*link));
      }
    };
    world.wait(accept_all());
    world.until([&] { return dialled.size() == 100; });
    CHECK(world.acceptor->counters().accepted == 100);
    CHECK(world.acceptor->counters().refused + world.acceptor->counters().timed_out == 0);
    CHECK(most <= places);
    CHECK(most > 1);  // they do run beside each other
  }
}

TEST_CASE("connections that do not shake hands keep nobody out") {
  SECTION("a few, while places are left") {
    World world;
    std::vector<tcp::socket> silent;
    for (int i = 0; i < 20; ++i) silent.push_back(world.plain());
    // One begins and does not go on.
    boost::asio::write(silent[0], boost::asio::buffer("\x16\x03\x01\x02\x00\x01", 6));
    world.until([&] { return world.acceptor->counters().connections == 20; });
    CHECK(world.dial());
    CHECK(world.acceptor->counters().timed_out == 0);
  }
  SECTION("more than there are places") {
    World world({.max_handshakes = 8, .grace = milliseconds(50)});
    std::vector<tcp::socket> silent;
    for (int i = 0; i < 20; ++i) silent.push_back(world.plain());
    auto start = steady_clock::now();
    CHECK(world.dial());
    CHECK(steady_clock::now() - start < AcceptorOptions().link.handshake);
    CHECK(world.acceptor->counters().timed_out >= 13);
    CHECK(world.acceptor->handshakes() <= 8);
  }
  SECTION("each ends with its time, also one that trickles") {
    World world({.link = {.handshake = milliseconds(100)}});
    tcp::socket silent = world.plain(), trickling = world.plain();
    boost::asio::write(trickling, boost::asio::buffer("\x16\x03\x01\x02", 4));
    world.until([&] { return world.acceptor->counters().timed_out == 2; });
    CHECK(world.acceptor->handshakes() == 0);
  }
  SECTION("nor does one that sends without end before it shows who it is") {
    World world;
    tcp::socket flooding = world.plain();
    // Change-cipher-spec records, which TLS 1.3 ignores for old middleboxes' sake.
    std::string junk;
    for (int i = 0; i < 100'000; ++i) junk.append("\x14\x03\x03\x00\x01\x01", 6);
    bool done = false;
    boost::asio::async_write(flooding, boost::asio::buffer(junk), [&](auto, auto) { done = true; });
    world.until([&] { return world.acceptor->counters().refused == 1; });
    CHECK(world.dial());
    flooding.close();
    world.until([&] { return done; });
  }
}

TEST_CASE("verified links that nobody takes are bounded too") {
  World world({.max_handshakes = 3});
  std::vector<std::unique_ptr<Link>> dialled;
  for (int i = 0; i < 10; ++i) {
    world.start(tls_dial(world.io, world.endpoint(), ids().hamburg, "master"),
                [&](LinkResult link) {
                  REQUIRE(link);
                  dialled.push_back(std::move(*link));
                });
  }
  world.until([&] { return world.acceptor->counters().accepted == 3; });
  world.io.poll();
  CHECK(world.acceptor->counters().connections == 3);
  for (int i = 0; i < 10; ++i) CHECK(world.wait(world.acceptor->accept()));
}

TEST_CASE("an acceptor that is closed says so to those who wait, and leaves links alone") {
  World world;
  Ends ends = connect(world);
  tcp::socket silent = world.plain();
  world.until([&] { return world.acceptor->handshakes() == 1; });
  std::optional<LinkResult> waiting;
  world.start(world.acceptor->accept(), [&](LinkResult r) { waiting = std::move(r); });
  world.io.poll();
  REQUIRE_FALSE(waiting);
  world.acceptor->close();
  world.until([&] { return waiting.has_value(); });
  REQUIRE_FALSE(*waiting);
  CHECK(waiting->error().kind == ErrorKind::shutdown);
  CHECK(world.acceptor->handshakes() == 0);
  CHECK_FALSE(world.wait(world.acceptor->accept()));
  REQUIRE(ends.branch->send(encode_frame(FrameType::ack, "still here")));
  CHECK(read_frames(world, *ends.master, 1)[0].payload == "still here");

  auto taken = TlsAcceptor::listen(
      world.io, tcp::endpoint(boost::asio::ip::make_address("192.0.2.1"), 1), ids().master);
  REQUIRE_FALSE(taken);
  CHECK(taken.error().code == "link.cannot_listen");
  CHECK_THAT(taken.error().message, Contains("192.0.2.1:1"));
}
