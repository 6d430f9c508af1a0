#include "tests/support/live_office.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <chrono>
#include <stdexcept>

namespace branchline {

LiveOffice::LiveOffice(SmallOffice& office, const std::string& files)
    : pool(io.get_executor(), 1, 16),
      changes(io.get_executor(), office.name),
      office_(office),
      files_(StaticFiles::load(files)) {
  changes.set_incarnation(office.replica->state().incarnation);
  Committer::Events events;
  events.changed = [this](const Changes& c) {
    api_->on_changes(c);
    changes.add(c);
  };
  committer_ = std::make_unique<Committer>(io, office.store, *office.replica, events);
  OfficeParts parts;
  parts.server = office.name;
  parts.schema = Schema::built_in();
  parts.store = &office.store;
  parts.committer = committer_.get();
  parts.pool = &pool;
  parts.changes = &changes;
  parts.clock = &office.clock;
  parts.files = &files_;
  parts.metrics = [] { return std::string(); };
  parts.link_state = [this] { return link; };
  parts.link_status = [] { return std::string("\"state\":\"following\""); };
  api_ = std::make_unique<OfficeApi>(std::move(parts));
}

LiveOffice::~LiveOffice() {
  changes.stop();
  poll();
  committer_->stop();
  pool.join();
  poll();
}

void LiveOffice::poll() {
  io.restart();
  io.poll();
}

template <typename T>
T LiveOffice::wait(boost::asio::awaitable<T> task) {
  std::optional<T> out;
  std::exception_ptr thrown;
  boost::asio::co_spawn(io, std::move(task), [&](const std::exception_ptr& e, T value) {
    thrown = e;
    out.emplace(std::move(value));
  });
  // A bound for a broken build, not a wait.
  auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  io.restart();
  auto work = boost::asio::make_work_guard(io);
  while (!out) {
    if (io.run_one_until(limit) == 0)
      throw std::runtime_error("live office: no answer within a minute");
  }
  if (thrown) std::rethrow_exception(thrown);
  work.reset();
  poll();
  return std::move(*out);
}

HttpResponse LiveOffice::request(const std::string& method, const std::string& target,
                                 const std::string& body, Headers headers) {
  bool named = false;
  for (const auto& [name, value] : headers) named = named || name == "Authorization";
  if (!named) headers.emplace_back("Authorization", "Bearer " + office_.name);
  HttpRequest request;
  request.method = method;
  request.target = target;
  request.body = body;
  for (const auto& [name, value] : headers) request.headers.emplace_back(name, value);
  return wait(api_->handle(request));
}

Result<Accepted> LiveOffice::submit(std::shared_ptr<Command> command) {
  return wait(committer_->submit(std::move(command)));
}

void LiveOffice::on_replica(std::function<void(Replica&, const Committer::Write&)> task) {
  std::exception_ptr thrown;
  wait(committer_->run<bool>([&](Replica& replica, const Committer::Write& write) {
    try {
      task(replica, write);
    } catch (...) {
      thrown = std::current_exception();
    }
    return true;
  }));
  if (thrown) std::rethrow_exception(thrown);
}

// --- The change stream ---

LiveOffice::Stream::Stream(LiveOffice& office, const std::string& token) : office_(office) {
  answer = office.request("GET", "/api/changes", {}, {{"Authorization", "Bearer " + token}});
  if (!answer.stream) return;
  boost::asio::co_spawn(office.io, answer.stream(*this), [this](const std::exception_ptr& e) {
    ended = true;
    if (e) came_ += "(exception)";
  });
  office.poll();
}

// What writes to this must not outlive it.
LiveOffice::Stream::~Stream() {
  client_gone = true;
  if (answer.stream && !ended) {
    office_.changes.stop();
    office_.poll();
  }
}

boost::asio::awaitable<bool> LiveOffice::Stream::write(std::string bytes) {
  if (client_gone) co_return false;
  came_ += bytes;
  co_return true;
}

std::string LiveOffice::Stream::take() {
  office_.poll();
  return std::exchange(came_, {});
}

}  // namespace branchline
