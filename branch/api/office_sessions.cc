// What a client has seen elsewhere (SEMANTICS 36), reads of what is committed, and writes that wait
// for their fate.
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "branch/api/office_call.h"
#include "branch/crm/overlay.h"
#include "common/base/limits.h"
#include "replication/line/incarnation.h"

namespace branchline {
namespace {

namespace asio = boost::asio;

constexpr int64_t kSessionWaitMs = 2'000;  // where the client names none
constexpr int64_t kAskAgainUs = 200'000;   // for the fate of what others have not shipped yet

std::string named(const std::map<OriginId, std::string>& servers, OriginId origin) {
  auto at = servers.find(origin);
  return at == servers.end() ? "server " + std::to_string(origin.value) : at->second;
}

}  // namespace

// `Prefer: wait=N`, in seconds.
Result<void> OfficeApi::read_wait(Call& call) {
  auto at = call.prefer.find("wait");
  if (at == call.prefer.end()) return {};
  const std::string& text = at->second;
  bool digits = !text.empty() && text.size() <= 6 &&
                std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) {
    return fail(ErrorKind::invalid, "option.malformed",
                "Prefer: wait needs a number of seconds (at most " +
                    std::to_string(kMaxWaitMs / 1000) + " are waited)");
  }
  call.wait_ms = std::min<int64_t>(std::stoll(text) * 1000, kMaxWaitMs);
  return {};
}

// Returns when something was applied here, at the latest at `until_us`.
asio::awaitable<void> OfficeApi::moved_or(int64_t until_us) {
  int64_t left = until_us - parts_.clock->steady_us();
  if (left <= 0 || stopping_) co_return;
  asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::microseconds(left));
  auto at = waiters_.insert(waiters_.end(), &timer);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  waiters_.erase(at);
}

void OfficeApi::on_moved() {
  for (auto* timer : waiters_) timer->cancel();
}

void OfficeApi::stop() {
  stopping_ = true;
  on_moved();
}

// Whether all of a stream of this server through `seq` is in what this office shows.
Result<bool> OfficeApi::shown_here(const Standing& standing, const Stream& stream, Seq seq) const {
  if (stream.origin != standing.self) return false;
  if (stream.incarnation == standing.incarnation)
    return seq <= standing.last[static_cast<size_t>(stream.lane)];
  auto rows = scan_prefix(*parts_.store, Table::meta, keys::meta_incarnation_prefix());
  for (; rows->valid(); rows->next()) {
    BL_ASSIGN(auto info, decode_incarnation(rows->value()));
    if (info.predecessor == stream.incarnation)
      return seq <= info.predecessor_ends[static_cast<size_t>(stream.lane)].seq;
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  return false;
}

asio::awaitable<Result<void>> OfficeApi::await_session(Call& call) {
  if (!call.request.has_header(kSessionHeader)) co_return Result<void>{};
  auto token = decode_session(call.request.header(kSessionHeader));
  if (!token) co_return std::unexpected(token.error());
  auto behind = [&](std::string code, std::string what) -> Result<void> {
    return fail(ErrorKind::conflict, "session." + std::move(code),
                what + ". Without Branchline-Session you are shown what this office has");
  };
  int64_t patience = call.wait_ms.value_or(kSessionWaitMs);
  int64_t deadline = parts_.clock->steady_us() + patience * 1000;
  int64_t ask_at = 0;
  std::string unanswered;
  for (;;) {
    Standing standing = parts_.committer->standing();
    if (token->line != standing.cursor.line) {
      co_return behind("line_replaced",
                       "line replaced: head office was restored since this token was given out, "
                       "and what it names may be gone");
    }
    for (auto at = token->streams.begin(); at != token->streams.end();) {
      auto here = shown_here(standing, at->first, at->second);
      if (!here) co_return std::unexpected(here.error());
      at = *here ? token->streams.erase(at) : std::next(at);
    }
    int64_t now = parts_.clock->steady_us();
    if (!token->streams.empty() && now >= ask_at) {
      LookupRequest question;
      for (const auto& [stream, seq] : token->streams)
        question.mutations.push_back({stream.origin, stream.incarnation, stream.lane, seq});
      auto asked = question.mutations;
      Result<LookupAnswer> answer =
          fail(ErrorKind::unavailable, "upstream.none", "this office has no upstream to ask");
      if (parts_.look_up) {
        int64_t left = std::max<int64_t>((deadline - now) / 1000, 1000);
        answer = co_await ask(call, std::move(question), std::min(left, kUpstreamPatienceMs));
      }
      unanswered.clear();
      if (answer && answer->decisions.size() == asked.size()) {
        for (size_t i = 0; i < asked.size(); ++i) {
          const auto& decision = answer->decisions[i];
          if (decision.lost) {
            co_return behind("lost", "lost: work of " + named(servers_, asked[i].origin) +
                                         " that you had seen there died with its disk before it "
                                         "reached head office");
          }
          if (decision.csn.value == 0) continue;
          token->csn = std::max(token->csn, decision.csn);
          token->streams.erase(stream_of(asked[i]));
        }
      } else if (!answer) {
        unanswered = answer.error().message;
      }
      ask_at = parts_.clock->steady_us() + kAskAgainUs;
      standing = parts_.committer->standing();
    }
    if (token->streams.empty() && token->csn <= standing.cursor.csn) {
      call.session = std::move(*token);
      co_return Result<void>{};
    }
    if (parts_.clock->steady_us() >= deadline || stopping_) {
      std::string missing;
      if (token->csn > standing.cursor.csn) {
        missing = "this office has applied csn " + std::to_string(standing.cursor.csn.value) +
                  ", you have seen " + std::to_string(token->csn.value);
      }
      for (const auto& [stream, seq] : token->streams) {
        if (!missing.empty()) missing += "; ";
        missing += "changes made at " + named(servers_, stream.origin) + " up to number " +
                   std::to_string(seq.value) + " have not reached head office";
      }
      if (!unanswered.empty()) missing += " (head office could not be asked: " + unanswered + ")";
      co_return behind("behind", missing + ": try again with a longer Prefer: wait");
    }
    co_await moved_or(token->streams.empty() ? deadline : std::min(deadline, ask_at));
  }
}

// What the client has seen after this answer: everything that this office shows. Naming more than
// was read costs a wait elsewhere at most, naming less would show it the past.
void OfficeApi::put_session(const Call& call, HttpResponse& response) const {
  Standing standing = parts_.committer->standing();
  if (standing.cursor.line.value == 0) return;
  SessionToken token;
  if (call.session && call.session->line == standing.cursor.line) token = *call.session;
  token.line = standing.cursor.line;
  token.csn = std::max({token.csn, standing.cursor.csn, call.upstream_csn});
  for (const auto& [stream, seq] : standing.pending) {
    if (token.streams.size() < limits::kMaxSessionStreams) token.streams[stream] = seq;
  }
  response.headers.emplace_back(std::string(kSessionHeader), encode_session(token));
}

// `Branchline-Read: committed`: the request reads the base. `local`: what this office does not hold
// is not there, as for an import, which asks for each row whether it is here already.
asio::awaitable<Result<void>> OfficeApi::read_committed(Call& call) {
  if (!call.request.has_header(kReadHeader)) co_return Result<void>{};
  if (call.request.header(kReadHeader) == "local") {
    call.reads_local = true;
    co_return Result<void>{};
  }
  if (call.request.header(kReadHeader) != "committed") {
    co_return fail(ErrorKind::invalid, "header.malformed",
                   "Branchline-Read: `committed` (without this office's own pending work) or "
                   "`local` (without asking other servers for what is not held here)");
  }
  auto job = [view = parts_.store->snapshot(), schema = parts_.schema] {
    return lay_committed(view, schema);
  };
  auto committed = co_await parts_.pool->run(std::move(job));
  if (!committed) co_return std::unexpected(committed.error());
  call.view = committed->view;
  call.side = committed->side;
  call.committed_csn = committed->csn;
  co_return Result<void>{};
}

Result<void> OfficeApi::read_write_header(Call& call) {
  if (!call.request.has_header(kWriteHeader)) return {};
  if (call.request.header(kWriteHeader) != "committed") {
    return fail(ErrorKind::invalid, "header.malformed",
                "Branchline-Write: `committed` is all that it can say (the answer waits for the "
                "fate); without the header a write is answered once it is durable here");
  }
  call.waits_for_fate = true;
  return {};
}

// 200 with the fate, or 202 and where to ask later. `answer` is what it would have been.
asio::awaitable<HttpResponse> OfficeApi::with_fate(Call& call, HttpResponse answer) {
  int64_t deadline = parts_.clock->steady_us() + call.wait_ms.value_or(kFateWaitMs) * 1000;
  std::string name = mutation_name(call.accepted);
  HttpResponse out;
  for (;;) {
    auto decided = is_decided(call.accepted);
    if (!decided) co_return error_response(decided.error());
    if (*decided) {
      out = co_await mutation_status(call, name);
      break;
    }
    if (parts_.clock->steady_us() >= deadline || stopping_) {
      std::string body = "{\"id\":";
      append_json_string(body, name);
      out = json_response(body + ",\"state\":\"pending\"}", 202);
      out.headers.emplace_back("Location", "/api/sync/mutations/" + name);
      break;
    }
    co_await moved_or(deadline);
  }
  for (auto& header : answer.headers) {
    bool of_body = header.first == "ETag" || header.first == "Preference-Applied" ||
                   header.first == "Location";
    if (!of_body) out.headers.push_back(std::move(header));
  }
  co_return out;
}

}  // namespace branchline
