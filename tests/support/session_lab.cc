#include "tests/support/session_lab.h"

#include <stdexcept>

#include "common/base/limits.h"
#include "master/lookup/lookup.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "tests/support/must.h"

namespace branchline {
namespace {

std::string number(Csn csn) { return std::to_string(csn.value); }

std::string seqs(uint64_t first, uint64_t last) {
  return first == last ? std::to_string(first)
                       : std::to_string(first) + ".." + std::to_string(last);
}

std::string why(const Error& e) { return std::string(to_string(e.kind)) + " " + e.code; }

}  // namespace

struct SessionLab::Link {
  explicit Link(std::string branch) : name(std::move(branch)) {}
  const std::string name;
  bool at_branch = true;  // whether that end still has it
  bool at_master = true;
  std::unique_ptr<BranchSession> branch;
  std::unique_ptr<MasterSession> master;
  FrameDecoder to_branch, to_master;
  std::deque<std::string> up, down;
  StreamDecompressor seen;  // what describes mutation frames, in order of sending
  std::shared_ptr<SnapshotSource> snapshot;
  std::vector<PendingRange> pending;
  JoinProgress join;
  LineId line;
};

SessionLab::SessionLab() = default;
SessionLab::~SessionLab() = default;

SmallOffice& SessionLab::office(const std::string& name) {
  auto at = world_->offices.find(name);
  if (at == world_->offices.end()) throw std::runtime_error("no office `" + name + "`");
  return *at->second;
}

SessionLab::Link& SessionLab::link(const std::string& name) {
  auto at = links_.find(name);
  if (at == links_.end()) throw std::runtime_error("no line of `" + name + "`");
  return *at->second;
}

namespace {

std::string told(const LookupAnswer& a) {
  if (a.error) return a.error->code;
  return (a.id.is_nil() ? "nothing" : "found") + std::string(" as of csn ") +
         std::to_string(a.csn.value);
}

}  // namespace

std::string SessionLab::run(const std::string& command) {
  out_.clear();
  Args a = story::words(command);
  if (a[0] == "world") {
    links_.clear();
    all_.clear();
    world_ = std::make_unique<SmallWorld>(a.at(1) == "connected");
    return "ok\n";
  }
  if (!world_)
    throw std::runtime_error("a transcript begins with `world fresh` or `world connected`");
  // What follows the second word, as it was written.
  size_t second = a.size() > 1 ? command.find(a[1], a[0].size()) + a[1].size() : command.size();
  size_t text = command.find_first_not_of(' ', second);
  std::string rest = text == std::string::npos ? "" : command.substr(text);
  if (!world_command(a, rest) && !line_command(a, rest))
    throw std::runtime_error("no command `" + a[0] + "`");
  return out_.empty() ? "ok\n" : out_;
}

bool SessionLab::world_command(const Args& a, const std::string& rest) {
  if (a[0] == "write") {
    std::string answer = office(a.at(1)).write(rest);
    if (answer != "ok") say(answer);
    if (links_.count(a[1]) && link(a[1]).at_branch)
      perform(link(a[1]), link(a[1]).branch->on_outbox());
  } else if (a[0] == "flood") {  // flood east 40 20000: so many edits of so many bytes that cannot
                                 // be compressed
    for (int i = 0; i < std::stoi(a.at(2)); ++i) {
      std::string noise = hex(world_->random.bytes(std::stoul(a.at(3)) / 2));
      office(a[1]).write("update " + a.at(4) + " description=" + noise);
    }
    if (links_.count(a[1]) && link(a[1]).at_branch)
      perform(link(a[1]), link(a[1]).branch->on_outbox());
  } else if (a[0] == "commit") {
    Workspace& view = world_->master.ingest->workspace();
    std::string whole = a[1] + " " + rest;
    say(world_->master.commit(world_->names.parse_all(whole, view, world_->arena)));
    tell_line();
  } else if (a[0] == "show") {
    say(a.at(1) == "master" ? world_->master.show(a.at(2)) : office(a[1]).show(a.at(2)));
  } else if (a[0] == "fate") {
    say(office(a.at(1)).fate());
  } else if (a[0] == "clock") {  // clock east +5s
    auto us = parse_duration_us(a.at(2).substr(1));
    if (!us) throw std::runtime_error("no duration `" + a[2] + "`");
    int64_t ms = *us / 1000 * (a[2][0] == '-' ? -1 : 1);
    (a[1] == "master" ? world_->master.clock : office(a[1]).clock).ms += ms;
  } else if (a[0] == "ship") {
    office(a.at(1)).ship();
    tell_line();
  } else if (a[0] == "fetch") {
    office(a.at(1)).fetch();
  } else if (a[0] == "settle") {
    world_->settle();
  } else if (a[0] == "ledger") {
    const Ledger& l = office(a.at(1)).replica->state().ledger;
    say(std::to_string(l.accepted) + " accepted: " + std::to_string(l.pending) + " pending, " +
        std::to_string(l.applied) + " applied, " + std::to_string(l.merged) + " merged, " +
        std::to_string(l.overridden) + " overridden, " + std::to_string(l.rejected) + " rejected");
  } else if (a[0] == "audit") {
    auto problems = world_->audit();
    for (const auto& p : problems) say(p);
    if (problems.empty()) say("true");
  } else if (a[0] == "save") {
    MemStore& disk = a.at(1) == "master" ? world_->master.store : office(a[1]).store;
    must(disk.sync());
    saved_[a[1]] = disk.durable();
  } else {
    return false;
  }
  return true;
}

bool SessionLab::line_command(const Args& a, const std::string& rest) {
  if (a[0] == "dial") {
    dial(a.at(1), Args(a.begin() + 2, a.end()));
  } else if (a[0] == "deliver") {  // deliver east up [3 | all]
    size_t count = a.size() < 4 ? 1 : a[3] == "all" ? SIZE_MAX : std::stoul(a[3]);
    bool up = a.at(2) == "up";
    auto held = links_.at(a.at(1));
    for (; count > 0 && !(up ? held->up : held->down).empty(); --count) deliver(a[1], up);
  } else if (a[0] == "run") {  // everything, until nothing moves
    quiet_ = rest == "quietly" || (a.size() > 1 && a[1] == "quietly");
    for (bool moved = true; moved;) {
      moved = false;
      for (const auto& [name, l] : links_) {
        for (bool up : {true, false}) {
          while (!(up ? l->up : l->down).empty()) {
            deliver(name, up);
            moved = true;
          }
        }
      }
      if (!ingest_.empty() || world_->master.ingest->held_ready()) {
        decide(SIZE_MAX);
        moved = true;
      }
    }
    quiet_ = false;
  } else if (a[0] == "decide") {
    decide(a.size() > 1 ? std::stoul(a[1]) : SIZE_MAX);
  } else if (a[0] == "drop") {
    auto& queue = a.at(2) == "up" ? link(a.at(1)).up : link(a[1]).down;
    queue.pop_front();
  } else if (a[0] == "swap") {
    auto& queue = a.at(2) == "up" ? link(a.at(1)).up : link(a[1]).down;
    std::swap(queue.at(0), queue.at(1));
  } else if (a[0] == "repeat") {
    auto& queue = a.at(2) == "up" ? link(a.at(1)).up : link(a[1]).down;
    queue.push_front(queue.at(0));
  } else if (a[0] == "cut") {  // the first frame loses its end, and the line ends there
    auto& queue = a.at(2) == "up" ? link(a.at(1)).up : link(a[1]).down;
    queue.at(0).resize(queue.at(0).size() / 2);
    queue.resize(1);
  } else if (a[0] == "inject") {  // inject east up heartbeat | bytes 0102 | ...
    auto& queue = a.at(2) == "up" ? link(a.at(1)).up : link(a[1]).down;
    queue.push_front(crafted(link(a[1]), Args(a.begin() + 3, a.end())));
  } else if (a[0] == "hang") {  // both ends learn that the connection is gone
    Link& l = link(a.at(1));
    l.at_branch = l.at_master = false;
    if (l.snapshot) shelf_.put(l.snapshot, now_us_);
    links_.erase(a[1]);
  } else if (a[0] == "look") {  // look east a hq: reads it with the token of hq
    Link& l = link(a.at(1));
    LookupRequest question;
    RecordKey key = world_->names.key(a.at(2));
    question.token = a.at(3);
    question.entity = key.entity;
    question.id = key.id;
    if (l.branch->lookup_room() != BranchSession::LookupRoom::room) {
      say("no room");
    } else {
      perform(l, l.branch->look_up(question));
    }
  } else if (a[0] == "tick") {
    auto us = parse_duration_us(a.at(1));
    if (!us) throw std::runtime_error("no duration `" + a[1] + "`");
    tick(*us);
  } else if (a[0] == "restart" || a[0] == "rollback") {
    if (a.at(1) == "master") {
      for (auto& l : all_) l->at_branch = l->at_master = false;
      links_.clear();
      all_.clear();
      ingest_.clear();
      shelf_ = {};
      world_->master.crash();
      if (a[0] == "rollback") world_->master.store.restore(saved_.at("master"));
      world_->master.start();
    } else {
      if (links_.count(a[1])) {
        link(a[1]).at_branch = link(a[1]).at_master = false;
        if (link(a[1]).snapshot) shelf_.put(link(a[1]).snapshot, now_us_);
      }
      links_.erase(a[1]);
      office(a[1]).crash();
      if (a[0] == "rollback") office(a[1]).store.restore(saved_.at(a[1]));
      office(a[1]).start();
    }
  } else if (a[0] == "forge") {
    forge(a.at(1));
  } else if (a[0] == "state") {
    show_state();
  } else if (a[0] == "backoff") {
    backoff(a);
  } else if (a[0] == "release") {
    Batch rows;
    must(world_->master.ingest->release(world_->master.ingest->directory().server(a.at(1))->origin,
                                        rows));
    must(world_->master.store.write(rows, Sync::yes));
  } else {
    return false;
  }
  return true;
}

void SessionLab::dial(const std::string& name, const Args& lies) {
  // An earlier connection of the same office is left to itself: its master's end may still believe
  // in it.
  if (links_.count(name)) {
    link(name).at_branch = false;
    links_[name + "-old"] = links_[name];
  }
  auto l = std::make_shared<Link>(name);
  links_[name] = l;
  all_.push_back(l);
  SmallOffice& o = office(name);
  o.outbox = std::make_unique<ReplicaOutbox>(o.store, o.replica->state().side);
  l->branch = std::make_unique<BranchSession>(*o.outbox, now_us_);
  l->master = std::make_unique<MasterSession>(*world_->master.feed, name, now_us_);
  l->line = world_->master.feed->head().line;
  Introduction intro = o.introduction();
  intro.reseed = intro.reseed || reseed_[name];
  for (const auto& lie : lies) {
    if (lie == "reseed") intro.reseed = true;
    if (lie == "as=west") intro.server = "west";
    if (lie == "line=other") intro.cursor.line = LineId(7);
    if (lie == "csn=ahead") intro.cursor.csn = Csn(intro.cursor.csn.value + 1000);
    if (lie == "chain=other") intro.cursor.chain.bytes[0] ^= 1;
    if (lie == "topology=other") intro.topology_digest = "other";
    if (lie == "schema=other") intro.schema_version += 1;
  }
  perform(*l, l->branch->start(intro, o.clock.wall_ms()));
}

void SessionLab::deliver(const std::string& name, bool up) {
  auto l = links_.at(name);
  auto& queue = up ? l->up : l->down;
  std::string bytes = std::move(queue.front());
  queue.pop_front();
  if (up) {
    receive_at_master(l, bytes);
  } else {
    receive_at_branch(*l, bytes);
  }
}

void SessionLab::receive_at_master(const std::shared_ptr<Link>& l, const std::string& bytes) {
  l->to_master.append(bytes);
  while (l->at_master) {
    auto frame = l->to_master.next();
    if (!frame) {
      say("master cannot read what " + l->name + " sends: " + frame.error().code);
      return perform(l, l->master->on_broken(frame.error()));
    }
    if (!*frame) return;
    perform(l, l->master->on_frame(**frame, now_us_, world_->master.clock.wall_ms()));
  }
}

void SessionLab::receive_at_branch(Link& l, const std::string& bytes) {
  l.to_branch.append(bytes);
  while (l.at_branch) {
    auto frame = l.to_branch.next();
    if (!frame) {
      say(l.name + " cannot read what the master sends: " + frame.error().code);
      return perform(l, l.branch->on_broken(frame.error()));
    }
    if (!*frame) return;
    perform(l, l.branch->on_frame(**frame, now_us_, office(l.name).clock.wall_ms()));
  }
}

void SessionLab::perform(Link& l, BranchEffects e) {
  SmallOffice& o = office(l.name);
  auto put = [&](const Batch& b, Sync s) { return o.store.write(b, s); };
  auto give_up = [&](const Error& error) {
    say(l.name + " gives up: " + why(error));
    perform(l, l.branch->on_broken(error));
  };
  if (e.welcome) {
    auto rows = o.replica->welcome(*e.welcome);
    if (!rows) return give_up(rows.error());
    must(o.store.write(*rows, Sync::no));
    o.registration = *e.welcome;
  }
  if (e.begin_join) must(o.replica->begin_seed(*e.begin_join, put));
  for (const auto& chunk : e.chunks) {
    auto ok = o.replica->seed_chunk(chunk, put);
    if (!ok) return give_up(ok.error());
    perform(l, l.branch->on_chunk_installed(o.replica->seeded_chunks()));
  }
  if (e.end_join) {
    for (bool copied = false; !copied;) copied = must(o.replica->copy_kept(put));
    auto done = o.replica->end_seed(*e.end_join, put);
    if (!done) return give_up(done.error());
    must(o.store.write(done->batch, Sync::yes));
    reseed_[l.name] = false;
    *o.outbox = ReplicaOutbox(o.store, o.replica->state().side);
    say(l.name + " holds csn " + number(o.replica->state().cursor.csn) + ", retired " +
        std::to_string(done->retired));
    perform(l, l.branch->on_joined(o.replica->state().cursor.csn));
  }
  for (const auto& range : e.ranges) {
    auto applied = o.replica->apply(range);
    if (!applied) {
      reseed_[l.name] = applied.error().code == "effects.diverged";
      return give_up(applied.error());
    }
    must(o.store.write(applied->batch, Sync::no));
    if (!quiet_)
      say(l.name + " applied through " + number(range.to.csn) + ", retired " +
          std::to_string(applied->retired));
    perform(l, l.branch->on_applied(o.replica->state().cursor.csn, now_us_));
  }
  for (const auto& answer : e.answers) {
    std::string number_text = std::to_string(answer.number);
    say(l.name + " gets look-up " + number_text + ": " + told(answer));
  }
  for (auto& bytes : e.frames) {
    FrameDecoder decoder;
    decoder.append(bytes);
    // Described in any case: what tells mutations follows the connection's compression.
    std::string text = describe(l, **decoder.next(), true);
    if (!quiet_) say(l.name + " -> " + text);
    l.up.push_back(std::move(bytes));
  }
  if (e.close) {
    say(l.name + " closes: " + why(*e.close));
    l.at_branch = false;
    if (e.close->code == kLineReplaced) {
      must(o.replica->leave_line(put));
      say(l.name + " leaves its line, " + std::to_string(o.replica->state().ledger.pending) +
          " pending");
    }
  }
}

void SessionLab::perform(const std::shared_ptr<Link>& l, MasterEffects e) {
  SmallMaster& m = world_->master;
  if (e.introduce) {
    l->pending = e.introduce->pending;
    l->join = e.introduce->join;
    Batch rows;
    auto registration = m.ingest->begin_session(*e.introduce, rows);
    must(m.store.write(rows, Sync::yes));
    const MasterState& s = m.ingest->state();
    if (m.feed->head().line != s.line) {
      m.feed->rename({s.line, s.head, s.chain});
      say("the line has a new id");
      auto everyone = all_;
      for (auto& other : everyone) {
        if (other != l && other->at_master)
          perform(other, other->master->on_broken(
                             {ErrorKind::unavailable, kLineReplaced, "the line is replaced"}));
      }
    }
    perform(l, l->master->on_registered(registration, now_us_, m.clock.wall_ms()));
  }
  for (auto& block : e.blocks) ingest_.push_back({l, std::move(block)});
  for (const auto& q : e.lookups) {
    LookedUp done = answer_lookup(*m.store.snapshot(), *world_->schema, q, m.clock.wall_ms());
    perform(l, l->master->on_looked_up(done.answer));
  }
  for (auto& bytes : e.frames) {
    FrameDecoder decoder;
    decoder.append(bytes);
    if (!quiet_) say("master -> " + l->name + ": " + describe(*l, **decoder.next(), false));
    l->down.push_back(std::move(bytes));
  }
  if (e.open_snapshot) {
    FeedScope scope;
    const Registration& r = l->master->registration();
    scope.origin = r.origin;
    scope.territories.insert(r.territories.begin(), r.territories.end());
    scope.territories.insert(kReferenceTerritory);
    std::set<TerritoryId> held;
    if (r.partial) {
      held.insert(r.installed.begin(), r.installed.end());
      held.insert(kReferenceTerritory);
    }
    l->snapshot = shelf_.take(r.origin, now_us_);
    if (!l->snapshot || !must(l->snapshot->resume(l->join, scope, held, l->pending))) {
      l->snapshot =
          must(SnapshotSource::open(m.store.snapshot(), scope, l->pending, held, ++snapshots_));
    }
    perform(l, l->master->on_snapshot(l->snapshot->head(), now_us_));
  }
  if (e.want_chunk) {
    auto chunk = must(l->snapshot->chunk(l->master->next_chunk()));
    perform(l, l->master->on_chunk(std::move(chunk), l->snapshot->end(), now_us_));
  }
  if (e.close) {
    say("master closes " + l->name + ": " + why(*e.close));
    l->at_master = false;
  }
}

void SessionLab::decide(size_t blocks) {
  std::vector<IncomingBlock> incoming;
  for (; !ingest_.empty() && blocks > 0; --blocks, ingest_.pop_front()) {
    const Registration& r = ingest_.front().from->master->registration();
    auto block = decode_mutation_block(ingest_.front().bytes);
    if (!block) {
      perform(ingest_.front().from, ingest_.front().from->master->on_broken(block.error()));
      continue;
    }
    incoming.push_back({r.origin, r.session, std::move(*block)});
  }
  IngestResult result = world_->master.decide(std::move(incoming));
  if (!quiet_) say("master at csn " + number(world_->master.feed->head().csn));
  auto everyone = all_;
  for (auto& l : everyone) {
    if (!l->at_master) continue;
    const Registration& r = l->master->registration();
    for (const auto& ack : result.acks) {
      if (ack.origin == r.origin && ack.session == r.session) {
        perform(l, l->master->on_committed(ack.stream, ack.seq, now_us_));
      }
    }
    for (const auto& b : result.broken) {
      if (b.origin == r.origin && b.session == r.session) perform(l, l->master->on_broken(b.error));
    }
    if (result.line) perform(l, l->master->on_line(world_->master.feed->head(), now_us_));
  }
}

void SessionLab::tick(int64_t us) {
  now_us_ += us;
  world_->master.clock.ms += us / 1000;
  for (auto& [name, o] : world_->offices) o->clock.ms += us / 1000;
  auto everyone = all_;
  for (auto& l : everyone) {
    if (l->at_master) perform(l, l->master->tick(now_us_, world_->master.clock.wall_ms()));
    if (!l->at_branch) continue;
    SmallOffice& o = office(l->name);
    BranchSession::Facts facts;
    facts.applied = facts.durable = o.replica->state().cursor.csn;
    facts.pending = o.replica->state().ledger.pending;
    perform(*l, l->branch->tick(now_us_, o.clock.wall_ms(), facts));
  }
}

void SessionLab::tell_line() {
  auto everyone = all_;
  for (auto& l : everyone) {
    if (l->at_master) perform(l, l->master->on_line(world_->master.feed->head(), now_us_));
  }
}

// The first pending mutation says something else than was hashed: a damaged disk, or a copy that
// lived on.
void SessionLab::forge(const std::string& name) {
  MemStore& store = office(name).store;
  auto rows = store.scan(Table::outbox, {}, {});
  std::string key(rows->key());
  OutboxBlock block =
      must(decode_outbox_block(*keys::parse_outbox(key), std::string(rows->value())));
  ++block.entries.front().mutation.hlc.value;
  Batch batch;
  batch.put(Table::outbox, key, encode_outbox_block(block));
  must(store.write(batch, Sync::yes));
}

void SessionLab::show_state() {
  for (const auto& [name, l] : links_) {
    const ReplicaState& s = office(l->name).replica->state();
    std::string branch(l->at_branch ? to_string(l->branch->state()) : "gone");
    std::string master(l->at_master ? to_string(l->master->state()) : "gone");
    say(name + ": " + branch + " at csn " + number(s.cursor.csn) + ", " +
        std::to_string(s.ledger.pending) + " pending; master: " + master + ", sent through " +
        number(l->master->sent().csn));
    bool bounded =
        l->branch->in_flight_bytes() <= limits::kUplinkWindowBytes + limits::kMaxFrameBytes &&
        l->master->in_flight_bytes() <= limits::kFeedWindowBytes + limits::kMaxFrameBytes;
    if (!bounded) say(name + ": more in flight than the windows allow");
  }
}

// backoff east 12 [refused] [held]: so many pauses in a row, each with its bounds.
void SessionLab::backoff(const Args& a) {
  Backoff b;
  bool refused = a.size() > 2 && a[2] == "refused", held = a.size() > 2 && a[2] == "held";
  for (int i = 0; i < std::stoi(a.at(1)); ++i) {
    // The bounds, from many offices with the same history.
    int64_t low = INT64_MAX, high = 0;
    Backoff after = b;
    for (int k = 0; k < 20'000; ++k) {
      Backoff one = b;
      int64_t pause =
          one.pause_ms(held && i % 4 == 3 ? Backoff::kHeldUs + 1 : 0, refused, world_->random);
      low = std::min(low, pause);
      high = std::max(high, pause);
      after = one;
    }
    b = after;
    // To the nearest 1 in 50: the extremes of so many draws lie within that of the bounds.
    auto rounded = [](int64_t v) { return v < 1000 ? (v + 1) / 5 * 5 : (v + 10) / 50 * 50; };
    say(std::to_string(rounded(low)) + "ms to " + std::to_string(rounded(high)) + "ms");
  }
}

std::string SessionLab::stream_name(const Stream& s) {
  size_t n = starts_.try_emplace(s.incarnation, starts_.size() + 1).first->second;
  return "start " + std::to_string(n);
}

std::string SessionLab::fates_text(const std::vector<FateEntry>& fates) {
  std::string out;
  for (const auto& f : fates) {
    out += ", " + stream_name(stream_of(f.id)) + " seq " +
           seqs(f.id.seq.value, f.id.seq.value + f.count - 1) + " " +
           std::string(to_string(f.fate)) + (f.as_forecast ? " as forecast" : "");
  }
  return out;
}

std::string SessionLab::describe(Link& l, const Frame& frame, bool up) {
  std::string type(to_string(frame.type));
  switch (frame.type) {
    case FrameType::hello: {
      Introduction i = must(decode_hello(frame.payload));
      std::string out =
          "hello " + i.server + " at csn " + number(i.cursor.csn) + (i.reseed ? " reseed" : "");
      if (i.join.snapshot != 0) out += ", has " + std::to_string(i.join.chunks) + " chunks";
      for (const auto& p : i.pending) {
        out += ", " + stream_name(p.stream) +
               (p.last < p.first ? " nothing pending"
                                 : " pending " + seqs(p.first.value, p.last.value));
      }
      return out;
    }
    case FrameType::welcome: {
      Registration r = must(decode_welcome(frame.payload)).registration;
      std::string out = "welcome, head " + number(r.head.csn) + (r.join ? ", join" : "") +
                        (r.partial ? ", other territories" : "");
      for (const auto& h : r.high_waters)
        out += ", " + stream_name(h.stream) + " known to " + std::to_string(h.seq.value);
      if (r.echo_until.value != 0) out += ", echo until " + number(r.echo_until);
      return out;
    }
    case FrameType::refused: {
      Error e = decode_refused(frame.payload);
      return "refused " + e.code + (e.kind == ErrorKind::conflict ? " (an operator must act)" : "");
    }
    case FrameType::mutations: {
      auto raw = up ? l.seen.decompress(frame.payload, limits::kMaxBlockBytes)
                    : Result<std::string>(std::unexpected(Error{}));
      auto block = raw ? decode_mutation_block(std::move(*raw))
                       : Result<MutationBlock>(std::unexpected(Error{}));
      if (!block) return "mutations that cannot be read";
      return "mutations " + stream_name(block->stream) + " seq " +
             seqs(block->mutations.front().id.seq.value, block->mutations.back().id.seq.value);
    }
    case FrameType::ack: {
      StreamAck a = must(decode_ack(frame.payload));
      return "ack " + stream_name(a.stream) + " seq " + std::to_string(a.seq.value);
    }
    case FrameType::feed: {
      FeedAssembler assembler(l.line);
      auto range = assembler.add(frame.payload);
      if (!range || !*range) return "feed, a part of a range";
      return "feed (" + number((*range)->from) + ", " + number((*range)->to.csn) + "], blocks " +
             std::to_string((*range)->blocks.size()) + fates_text((*range)->fates);
    }
    case FrameType::progress: {
      Progress p = must(decode_progress(frame.payload));
      return "progress csn " + number(p.csn) + ", chunks " + std::to_string(p.snapshot_chunks);
    }
    case FrameType::heartbeat: {
      Heartbeat h = must(decode_heartbeat(frame.payload));
      return "heartbeat csn " + number(h.csn) + ", pending " + std::to_string(h.pending);
    }
    case FrameType::snapshot_head: {
      SnapshotHead h = must(decode_snapshot_head(frame.payload));
      return (h.partial ? "snapshot of what is missing, at csn " : "snapshot at csn ") +
             number(h.at.csn) +
             (h.first_chunk > 0 ? ", from chunk " + std::to_string(h.first_chunk) : "");
    }
    case FrameType::snapshot_end: {
      SnapshotEnd e = must(decode_snapshot_end(frame.payload));
      return "snapshot ends, chunks " + std::to_string(e.chunks) + fates_text(e.fates);
    }
    case FrameType::snapshot_chunk:
      return "snapshot chunk";
    case FrameType::channel_open:
    case FrameType::channel:
    case FrameType::channel_closed:
    case FrameType::file_head:
      break;  // the lab has neither hubs nor files
    case FrameType::verify:
    case FrameType::verify_point:
    case FrameType::verify_sums:
      break;  // nor does anybody ask in it
    case FrameType::lookup:
      return "look-up " + std::to_string(must(decode_lookup_request(frame.payload)).number);
    case FrameType::lookup_answer: {
      LookupAnswer answer = must(decode_lookup_answer(frame.payload));
      return "answer to look-up " + std::to_string(answer.number) + ": " + told(answer);
    }
  }
  return type;
}

std::string SessionLab::crafted(Link& l, const Args& a) {
  if (a[0] == "oversized") {
    std::string out;
    Writer(out).varint(limits::kMaxFrameBytes + 1);
    return out;
  }
  if (a[0] == "empty") return std::string(1, '\0');
  if (a[0] == "endless") return std::string(10, '\xff');
  if (a[0] == "unknown") return std::string("\x02\x63x", 3);
  if (a[0] == "garbage")
    return encode_frame(static_cast<FrameType>(std::stoi(a.at(1))), "\xff\xff\xff\xff garbage");
  if (a[0] == "heartbeat") return encode_frame(FrameType::heartbeat, encode_heartbeat({}));
  if (a[0] == "progress")
    return encode_frame(FrameType::progress, encode_progress({Csn(std::stoull(a.at(1))), 0}));
  if (a[0] == "chunks")
    return encode_frame(FrameType::progress, encode_progress({Csn(0), std::stoull(a.at(1))}));
  if (a[0] == "ack")
    return encode_frame(FrameType::ack, encode_ack({{}, Seq(std::stoull(a.at(1)))}));
  if (a[0] == "welcome") {
    Registration r;
    r.origin = OriginId(99);
    r.head = world_->master.feed->head();
    return encode_frame(FrameType::welcome, encode_welcome(r, 0));
  }
  if (a[0] == "hello")
    return encode_frame(FrameType::hello, encode_hello(office(l.name).introduction(), 0));
  if (a[0] == "refused") {
    return encode_frame(FrameType::refused,
                        encode_refused({ErrorKind::conflict, "session.test", "a reason"}));
  }
  if (a[0] == "lookup") {
    LookupRequest q;
    q.number = std::stoull(a.at(1));
    q.token = "nobody";
    q.entity = entity_id::kAccount;
    q.id.bytes[0] = 1;
    return encode_frame(FrameType::lookup, encode_lookup_request(q));
  }
  if (a[0] == "answer") {
    LookupAnswer answer;
    answer.number = std::stoull(a.at(1));
    return encode_frame(FrameType::lookup_answer, encode_lookup_answer(answer));
  }
  if (a[0] == "feed") {  // feed FROM TO [foreign]
    FeedRange range;
    range.from = Csn(std::stoull(a.at(1)));
    range.to = {l.line, Csn(std::stoull(a.at(2))), {}};
    if (a.size() > 3) {
      FateEntry f;
      f.id = {OriginId(77), Incarnation(1), Lane::interactive, Seq(1)};
      f.csn = range.to.csn;
      f.count = 1;
      range.fates.push_back(f);
    }
    return encode_frame(FrameType::feed, encode_feed(range).at(0));
  }
  throw std::runtime_error("no frame `" + a[0] + "`");
}

}  // namespace branchline
