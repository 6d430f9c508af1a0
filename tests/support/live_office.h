// An office of a SmallWorld behind its HTTP interface: the committer's thread, the routes and the
// change stream of a branch server, without sockets and with a clock that the test moves. One
// request at a time; the store is touched by one thread after the other.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "branch/api/office_api.h"
#include "common/runtime/blocking_pool.h"
#include "tests/support/small_world.h"

namespace branchline {

class LiveOffice {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;
  static constexpr const char* kData = "/api/data/v9.2/";

  // Until this ends, the office's replica is the committer's. `files`: the web app's folder.
  explicit LiveOffice(SmallOffice& office, const std::string& files = "/nonexistent");
  ~LiveOffice();

  // A request with the office's own token, unless `headers` bring an Authorization.
  HttpResponse request(const std::string& method, const std::string& target,
                       const std::string& body = {}, Headers headers = {});
  // A command as the interface gives them to the committer.
  Result<Accepted> submit(std::shared_ptr<Command> command);
  // On the writing thread, between groups.
  void on_replica(std::function<void(Replica&, const Committer::Write&)> task);
  // The committed state as other threads see it.
  ReplicaStatus status() const { return committer_->status(); }
  // What is ready to run, until nothing is; does not wait.
  void poll();

  boost::asio::io_context io{1};
  BlockingPool pool;
  ChangeHub changes;
  OfficeLink link;

  // Reads GET /api/changes as a client does. Its end ends all streams of the office.
  class Stream : public HttpStream {
   public:
    Stream(LiveOffice& office, const std::string& token);
    ~Stream();
    boost::asio::awaitable<bool> write(std::string bytes) override;
    // What came since the last call.
    std::string take();

    HttpResponse answer;
    bool client_gone = false;  // from now on writes fail
    bool ended = false;

   private:
    LiveOffice& office_;
    std::string came_;
  };

 private:
  template <typename T>
  T wait(boost::asio::awaitable<T> task);

  SmallOffice& office_;
  StaticFiles files_;
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<OfficeApi> api_;
};

}  // namespace branchline
